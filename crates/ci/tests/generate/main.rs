//! What is generated for small repositories, of each language, for each system: read the snapshots as their readers
//! would.

mod repositories;

use ci::model::Written;
use ci::tree::Listing;
use ci::{Options, generate};

fn shown(written: &Written) -> String {
    let mut out = String::new();
    for file in &written.files {
        out.push_str(&format!("--- {}\n{}", file.path, file.text));
    }
    for note in &written.notes {
        let job = note
            .job
            .as_deref()
            .map(|job| format!("{job}: "))
            .unwrap_or_default();
        out.push_str(&format!("note: {job}{}\n      {}\n", note.what, note.advice));
    }
    out
}

#[test]
fn each_language_for_each_system() {
    for (name, files) in repositories::ALL {
        let tree = Listing::of(files);
        let generated = generate(&tree, &Options::default()).unwrap();
        let why: Vec<_> = generated
            .found
            .units
            .iter()
            .flat_map(|unit| {
                unit.why
                    .iter()
                    .map(move |why| format!("{}: {}: {}", unit.language, why.path, why.what))
            })
            .collect();
        insta::assert_snapshot!(format!("{name}_why"), why.join("\n"));
        for dialect in ci::Dialect::ALL {
            let written = dialect.write(&generated.pipeline);
            insta::assert_snapshot!(format!("{name}_{}", dialect.name()), shown(&written));
            for file in &written.files {
                let worst = ci::lint::lint(dialect, file.text.as_bytes());
                let worst: Vec<_> = worst
                    .iter()
                    .filter(|f| f.severity != ci::lint::Severity::Hint)
                    .collect();
                assert!(worst.is_empty(), "{name} for {}: {worst:#?}", dialect.name());
            }
        }
    }
}
