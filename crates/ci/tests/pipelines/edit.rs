//! An edit changes what it is about and no other byte.

use ci::yaml::{Edit, EditError, Step, Yaml, apply, block, insert, list, map, parse, path, remove, set};
use proptest::prelude::*;

const FILE: &str = "# who: platform
stages: [build, test] # in order

.base: &base
  image: \"rust:1.89.0\"   # pinned

build:
  <<: *base
  script:
    # first
    - cargo build # slow
    - |
      cargo test
      echo done
  timeout: 1h

test: {script: [make test], needs: [build]}
";

/// The change is this part of the file and nothing else.
fn only(changed: Result<String, EditError>, old: &str, new: &str) {
    assert_eq!(FILE.matches(old).count(), 1, "{old}");
    assert_eq!(changed.unwrap(), FILE.replace(old, new));
}

#[test]
fn a_value_is_replaced() {
    only(
        set(FILE, &path("build/timeout"), Yaml::from("30 minutes")),
        "timeout: 1h",
        "timeout: 30 minutes",
    );
    only(
        set(FILE, &path("build/timeout"), list(["a", "b"])),
        "timeout: 1h",
        "timeout:\n    - a\n    - b",
    );
    only(
        set(FILE, &path("build/script"), Yaml::from("make")),
        "script:\n    # first\n    - cargo build # slow\n    - |\n      cargo test\n      echo done\n",
        "script: make\n",
    );
    only(
        set(FILE, &path("build/script/0"), Yaml::from("cargo check")),
        "- cargo build # slow",
        "- cargo check # slow",
    );
    only(
        set(FILE, &path("build/script/1"), Yaml::from("a\nb")),
        "- |\n      cargo test\n      echo done\n",
        "- |-\n      a\n      b\n",
    );
    only(
        set(FILE, &path("test/needs"), Yaml::Inline(Vec::new())),
        "needs: [build]",
        "needs: []",
    );
}

#[test]
fn a_value_is_put_in() {
    only(
        set(FILE, &path("build/retry/max"), Yaml::Int(2)),
        "  timeout: 1h\n",
        "  timeout: 1h\n  retry:\n    max: 2\n",
    );
    only(
        set(FILE, &path("test/timeout"), Yaml::from("5 minutes")),
        "needs: [build]}",
        "needs: [build], timeout: 5 minutes}",
    );
    only(
        insert(FILE, &path("stages"), 2, Yaml::from("deploy")),
        "[build, test] #",
        "[build, test, deploy] #",
    );
    only(
        insert(FILE, &path("build/script"), 0, Yaml::from("rustc --version")),
        "    - cargo build",
        "    - rustc --version\n    - cargo build",
    );
    only(
        insert(FILE, &path("build/script"), 1, Yaml::from("cargo clippy")),
        "# slow\n",
        "# slow\n    - cargo clippy\n",
    );
}

#[test]
fn a_value_is_taken_away() {
    only(remove(FILE, &path("build/timeout")), "  timeout: 1h\n", "");
    only(
        remove(FILE, &path("build/script/0")),
        "    - cargo build # slow\n",
        "",
    );
    only(remove(FILE, &path("test/needs")), ", needs: [build]", "");
    only(remove(FILE, &path("stages/1")), "[build, test] #", "[build] #");
}

#[test]
fn what_would_change_something_else_is_refused() {
    let shared = set(FILE, &path("build/image"), Yaml::from("x")).unwrap_err();
    assert!(matches!(shared, EditError::Shared(_)), "{shared}");
    // The anchor's own place may be changed only if nobody else's meaning changes with it.
    let anchored = "a: &x {k: 1}\nb: *x\n";
    let base = set(FILE, &path(".base/image"), Yaml::from("x")).unwrap_err();
    assert!(matches!(base, EditError::Entangled(_)), "{base}");
    let error = set(anchored, &path("a/k"), Yaml::Int(2)).unwrap_err();
    assert!(matches!(error, EditError::Entangled(_)), "{error}");
    let error = remove(FILE, &path("nothing/here")).unwrap_err();
    assert!(matches!(error, EditError::NotThere(_)), "{error}");
}

#[test]
fn line_ends_are_kept() {
    let text = "a: 1\r\nb:\r\n  c: 2\r\n";
    let changed = set(text, &path("b/d"), list(["x"])).unwrap();
    assert_eq!(changed, "a: 1\r\nb:\r\n  c: 2\r\n  d:\r\n    - x\r\n");
    assert_eq!(set("a: 1", &path("b"), Yaml::Int(2)).unwrap(), "a: 1\nb: 2");
    assert_eq!(set("", &path("a/b"), Yaml::Int(2)).unwrap(), "a:\n  b: 2\n");
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        Just("on".to_owned()),
        Just("1.10".to_owned()),
        Just("it's: \"odd\" # no".to_owned()),
        Just("two\nlines\n".to_owned()),
        Just("  led by blanks\nand a line".to_owned()),
        Just("größer ✓".to_owned()),
        Just("- x".to_owned()),
        Just(String::new()),
        Just("a\tb".to_owned()),
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Yaml> {
    let leaf = prop_oneof![
        word().prop_map(Yaml::Text),
        any::<bool>().prop_map(Yaml::Bool),
        (-9_i64..99).prop_map(Yaml::Int),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Yaml::List),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Yaml::Inline),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|entries| {
                let mut out = map();
                for (key, value) in entries {
                    out.put(key, value);
                }
                out
            }),
        ]
    })
}

/// What a written value is read as: texts, and the rest as it is written.
fn same(written: &Yaml, read: &ci::yaml::Node) -> bool {
    match written {
        Yaml::Text(text) => read.as_str() == Some(text.as_str()) && (text.is_empty() || !read.is_null()),
        Yaml::Bool(value) => read.as_bool() == Some(*value),
        Yaml::Int(value) => read.as_str() == Some(value.to_string().as_str()),
        Yaml::List(items) | Yaml::Inline(items) => {
            let read: Vec<_> = read.items().collect();
            items.len() == read.len() && items.iter().zip(read).all(|(item, read)| same(item, read))
        }
        Yaml::Map(entries) => entries.iter().all(|entry| match entry {
            ci::yaml::Entry::Pair(key, value) => read.get(key).is_some_and(|read| same(value, read)),
            _ => true,
        }),
        Yaml::Noted(value, _) => same(value, read),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_is_read_as_it_was(value in value()) {
        let text = block(&map().with("key", value.clone()), 0);
        let read = parse(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        let read = read[0].get("key").unwrap();
        prop_assert!(same(&value, read), "{text}");
    }

    #[test]
    fn a_change_keeps_every_byte_outside_of_it(
        value in value(),
        at in prop::sample::select(vec![
            "build/timeout", "build/script", "build/script/0", "build/script/1", "build/new", ".base/image", ".base/more",
            "test/script", "test/new", "stages", "stages/0", "fresh",
        ]),
    ) {
        let steps = path(at);
        if let Ok(changed) = set(FILE, &steps, value.clone()) {
            let before = FILE.bytes().zip(changed.bytes()).take_while(|(a, b)| a == b).count();
            let after = FILE.bytes().rev().zip(changed.bytes().rev()).take_while(|(a, b)| a == b).count();
            // One place alone differs: whatever lines lie outside of the value's own are all there.
            let kept = before + after.min(FILE.len() - before);
            let own = match at { "build/script" => 90, "build/script/1" => 50, "stages" => 24, _ => 30 };
            prop_assert!(FILE.len() - kept <= own, "{at}: {} bytes\n{changed}", FILE.len() - kept);
            // A comment beside a value that becomes a block stays beside its key.
            let comments = ["# who: platform", "# in order", "# pinned", "# first", "# slow"];
            for comment in comments.into_iter().filter(|_| at != "build/script") {
                prop_assert!(changed.contains(comment), "{at}: {comment}\n{changed}");
            }
            let read = parse(&changed).unwrap();
            let mut node = &*read[0];
            for step in &steps {
                node = match step {
                    Step::Key(key) => node.get(key).unwrap(),
                    Step::Index(index) => node.items().nth(*index).unwrap(),
                };
            }
            prop_assert!(same(&value, node), "{at}\n{changed}");
        }
    }

    #[test]
    fn what_is_put_in_and_taken_out_again_leaves_no_trace(value in value(), index in 0_usize..3) {
        let at = path("build/script");
        if let Ok(with) = insert(FILE, &at, index, value) {
            let gone = apply(&with, &Edit::Remove([at, vec![Step::Index(index)]].concat()));
            prop_assert_eq!(gone.as_deref(), Ok(FILE));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), at in "[a-c/0-2]{0,6}") {
        let _ = set(&text, &path(&at), Yaml::Int(1));
        let _ = remove(&text, &path(&at));
        let _ = insert(&text, &path(&at), 0, Yaml::Int(1));
    }
}
