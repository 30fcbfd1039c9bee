// JavaScript's own regular expressions have what gitlab-ci-local asks of RE2.
module.exports = RegExp;
