//! `scripts/bench` in small: everything is measured and told as it should be. What the figures say of this build and of
//! these sizes is nothing, so they are not judged.

use std::process::Command;

use serde_json::Value;

/// What the program tells, one object a line. It may find that limits are missed (1), but not fail (2).
fn told(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_longshore-bench"))
        .args(args)
        .arg("--json")
        .output()
        .expect("run the benchmark");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{:?}:\n{errors}",
        output.status
    );
    let said = String::from_utf8(output.stdout).expect("text");
    let told: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let all_pass = told.iter().all(|figure| figure["pass"] == true);
    assert_eq!(output.status.code() == Some(0), all_pass, "{said}");
    told
}

fn names(told: &[Value]) -> Vec<&str> {
    told.iter().filter_map(|figure| figure["name"].as_str()).collect()
}

#[test]
fn the_figures_of_the_queue_can_be_measured() {
    let wanted = "drain_1m,drain_held_xid,pickup_p50,pickup_p99,enqueue_bulk,enqueue_sql,steps";
    let told = told(&["queue", "--quick", "--only", wanted]);
    assert_eq!(names(&told).join(","), wanted);
    for figure in &told {
        assert!(figure["value"].as_f64() > Some(0.0), "{figure}");
        assert!(figure["limit"].as_f64() > Some(0.0), "{figure}");
        assert!(figure["ratio"].as_f64() > Some(0.0), "{figure}");
        assert!(figure["unit"].is_string(), "{figure}");
    }
}

/// One cell whose load is given, and one that finds it first.
#[test]
fn cells_of_chaos_lose_and_double_nothing() {
    let given = told(&[
        "chaos",
        "--window",
        "0.5",
        "--capacity",
        "25",
        "--only",
        "load_150",
    ]);
    assert_eq!(names(&given), ["load_150"]);
    assert_eq!(given[0]["load"], 12.5);
    let found = told(&["chaos", "--window", "2", "--only", "idle_in_transaction"]);
    assert_eq!(names(&found), ["capacity", "idle_in_transaction"]);
    let capacity = found[0]["value"].as_f64().expect("a number");
    let load = found[1]["load"].as_f64().expect("a number");
    assert!(
        (load - 0.75 * capacity).abs() < 0.02 && load > 0.0,
        "{load} of {capacity}"
    );
    for cell in [&given[0], &found[1]] {
        assert!(cell["tasks"].as_i64() > Some(10), "{cell}");
        for none in ["lost", "doubled", "missing_effects"] {
            assert_eq!(cell[none], 0, "{cell}");
        }
    }
}
