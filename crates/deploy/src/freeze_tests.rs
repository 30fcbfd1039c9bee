use super::*;

fn weekly(name: &str, from: &str, to: &str) -> FreezeWindow {
    FreezeWindow::weekly(name, from, to)
}

fn dates(name: &str, from: &str, to: &str) -> FreezeWindow {
    FreezeWindow::dates(name, from, to)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn berlin(windows: Vec<FreezeWindow>) -> Freeze {
    Freeze {
        time_zone: "Europe/Berlin".to_owned(),
        windows,
    }
}

/// The end and the window, or nothing if open.
fn frozen(freeze: &Freeze, now: &str) -> Option<(DateTime<Utc>, String)> {
    match freeze.at(at(now), None).unwrap() {
        Gate::Frozen { until, window } => Some((until, window)),
        Gate::Open => None,
        Gate::Overridden { .. } => panic!("nobody overrode it"),
    }
}

fn until(text: &str, window: &str) -> Option<(DateTime<Utc>, String)> {
    Some((at(text), window.to_owned()))
}

#[test]
fn no_friday_afternoon_by_default() {
    let freeze = Freeze {
        time_zone: "Europe/Berlin".to_owned(),
        ..Freeze::default()
    };
    // 20 November 2026 is a Friday; Berlin is an hour ahead of UTC in winter.
    assert_eq!(frozen(&freeze, "2026-11-20T10:59:59Z"), None);
    assert_eq!(
        frozen(&freeze, "2026-11-20T11:00:00Z"),
        until("2026-11-20T23:00:00Z", "Friday afternoon")
    );
    assert_eq!(
        frozen(&freeze, "2026-11-20T22:59:59Z"),
        until("2026-11-20T23:00:00Z", "Friday afternoon")
    );
    assert_eq!(frozen(&freeze, "2026-11-20T23:00:00Z"), None);
    assert_eq!(frozen(&freeze, "2026-11-19T12:00:00Z"), None, "a Thursday");
    // In summer it is two hours.
    assert_eq!(
        frozen(&freeze, "2026-07-17T10:00:00Z"),
        until("2026-07-17T22:00:00Z", "Friday afternoon")
    );
    assert_eq!(frozen(&freeze, "2026-07-17T09:59:59Z"), None);
}

#[test]
fn it_is_friday_where_the_repository_is() {
    let auckland = Freeze {
        time_zone: "Pacific/Auckland".to_owned(),
        ..Freeze::default()
    };
    // Thursday evening in UTC is Friday noon there (13 hours ahead in their summer).
    assert_eq!(
        frozen(&auckland, "2026-11-19T23:00:00Z"),
        until("2026-11-20T11:00:00Z", "Friday afternoon")
    );
    assert_eq!(frozen(&auckland, "2026-11-20T11:00:00Z"), None);
}

#[test]
fn a_weekly_window_may_cross_the_end_of_the_week() {
    let freeze = berlin(vec![weekly("weekend", "fri 18:00", "mon 08:00")]);
    assert_eq!(
        frozen(&freeze, "2026-11-22T12:00:00Z"),
        until("2026-11-23T07:00:00Z", "weekend")
    );
    assert_eq!(
        frozen(&freeze, "2026-11-23T06:59:59Z"),
        until("2026-11-23T07:00:00Z", "weekend")
    );
    assert_eq!(frozen(&freeze, "2026-11-23T07:00:00Z"), None);
    let long = berlin(vec![weekly("all but Monday afternoon", "tue 00:00", "mon 12:00")]);
    assert_eq!(
        frozen(&long, "2026-11-23T06:00:00Z"),
        until("2026-11-23T11:00:00Z", "all but Monday afternoon")
    );
    assert_eq!(frozen(&long, "2026-11-23T11:00:00Z"), None);
    let nightly = berlin(vec![weekly("sunday", "sun 00:00", "mon 00:00")]);
    assert_eq!(
        frozen(&nightly, "2026-11-22T22:59:00Z"),
        until("2026-11-22T23:00:00Z", "sunday")
    );
}

/// On 29 March 2026 Berlin's clocks go from 02:00 to 03:00, on 25 October from 03:00 back to 02:00.
#[test]
fn a_window_across_a_change_of_the_clocks_is_longer_or_shorter_by_it() {
    let freeze = berlin(vec![weekly("night", "sat 22:00", "sun 06:00")]);
    assert_eq!(
        frozen(&freeze, "2026-03-28T21:00:00Z"),
        until("2026-03-29T04:00:00Z", "night"),
        "seven hours"
    );
    assert_eq!(
        frozen(&freeze, "2026-10-24T20:00:00Z"),
        until("2026-10-25T05:00:00Z", "night"),
        "nine hours"
    );
}

#[test]
fn an_edge_in_a_gap_is_after_it_and_one_that_comes_twice_makes_the_freeze_longer() {
    let freeze = berlin(vec![weekly("gap", "sun 02:30", "sun 05:00")]);
    assert_eq!(frozen(&freeze, "2026-03-29T00:59:59Z"), None);
    assert_eq!(
        frozen(&freeze, "2026-03-29T01:00:00Z"),
        until("2026-03-29T03:00:00Z", "gap")
    );
    let twice = berlin(vec![weekly("twice", "sun 02:30", "sun 02:45")]);
    assert_eq!(frozen(&twice, "2026-10-25T00:29:59Z"), None);
    assert_eq!(
        frozen(&twice, "2026-10-25T00:30:00Z"),
        until("2026-10-25T01:45:00Z", "twice")
    );
    assert_eq!(frozen(&twice, "2026-10-25T01:45:00Z"), None);
}

#[test]
fn dates_are_local_and_a_day_begins_at_midnight() {
    let freeze = berlin(vec![dates("Christmas", "2026-12-21", "2027-01-04 06:00")]);
    assert_eq!(frozen(&freeze, "2026-12-20T22:59:59Z"), None);
    assert_eq!(
        frozen(&freeze, "2026-12-20T23:00:00Z"),
        until("2027-01-04T05:00:00Z", "Christmas")
    );
    assert_eq!(frozen(&freeze, "2027-01-04T05:00:00Z"), None);
    assert_eq!(frozen(&freeze, "2027-12-25T12:00:00Z"), None, "once");
}

#[test]
fn windows_that_touch_are_open_only_after_the_last() {
    let freeze = berlin(vec![
        FreezeWindow::friday_afternoon(),
        weekly("weekend", "sat 00:00", "mon 00:00"),
        dates("launch", "2026-11-23", "2026-11-24"),
    ]);
    assert_eq!(
        frozen(&freeze, "2026-11-20T12:00:00Z"),
        until("2026-11-23T23:00:00Z", "Friday afternoon")
    );
    assert_eq!(
        frozen(&freeze, "2026-11-27T12:00:00Z"),
        until("2026-11-29T23:00:00Z", "Friday afternoon")
    );
    let longer = berlin(vec![
        weekly("short", "mon 10:00", "mon 11:00"),
        weekly("long", "mon 09:00", "mon 17:00"),
    ]);
    assert_eq!(
        frozen(&longer, "2026-11-23T09:30:00Z"),
        until("2026-11-23T16:00:00Z", "long")
    );
}

#[test]
fn an_override_has_a_name_and_a_reason() {
    let freeze = Freeze::default();
    let by = |name: &str, reason: &str| Override {
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    let friday = at("2026-11-20T13:00:00Z");
    let through = freeze
        .at(friday, Some(&by("Ada", "certificate expires tonight")))
        .unwrap();
    let expected = Gate::Overridden {
        until: at("2026-11-21T00:00:00Z"),
        window: "Friday afternoon".to_owned(),
        name: "Ada".to_owned(),
        reason: "certificate expires tonight".to_owned(),
    };
    assert_eq!(through, expected);
    assert_eq!(
        freeze.at(friday, Some(&by("Ada", " "))),
        Err(FreezeError::Override("reason"))
    );
    assert_eq!(
        freeze.at(friday, Some(&by("", "now"))),
        Err(FreezeError::Override("name"))
    );
    assert_eq!(
        freeze.at(at("2026-11-18T13:00:00Z"), Some(&by("", ""))),
        Ok(Gate::Open),
        "nothing to override"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let now = at("2026-11-18T13:00:00Z");
    let problem = |freeze: Freeze| freeze.at(now, None).unwrap_err().to_string();
    let zone = Freeze {
        time_zone: "Berlin".to_owned(),
        ..Freeze::default()
    };
    assert!(problem(zone).contains("Europe/Berlin"));
    assert!(problem(berlin(vec![weekly("w", "fri", "sat 00:00")])).contains("fri 12:00"));
    assert!(problem(berlin(vec![weekly("w", "fri 25:00", "sat 00:00")])).contains("25:00"));
    assert!(problem(berlin(vec![dates("d", "21.12.2026", "2027-01-04")])).contains("2026-12-21"));
    assert!(problem(berlin(vec![dates("d", "2027-01-04", "2026-12-21")])).contains("ends before"));
    let neither = FreezeWindow {
        name: "n".to_owned(),
        ..FreezeWindow::default()
    };
    assert!(problem(berlin(vec![neither])).contains("`weekly` or `dates`"));
    assert!(problem(berlin(vec![weekly(" ", "fri 12:00", "sat 00:00")])).contains("name"));
    let always = berlin(vec![weekly("always", "mon 00:00", "mon 00:00")]);
    assert!(problem(always).contains("no open moment"));
}

#[test]
fn settings_read_as_they_are_documented() {
    let text = r#"{"time_zone": "Europe/Berlin", "windows": [
        {"name": "late", "weekly": {"from": "Fri 12:00", "to": "sat 00:00"}},
        {"name": "Christmas", "dates": {"from": "2026-12-21", "to": "2027-01-04 06:00"}}]}"#;
    let freeze: Freeze = serde_json::from_str(text).unwrap();
    assert_eq!(
        freeze.windows[1],
        dates("Christmas", "2026-12-21", "2027-01-04 06:00")
    );
    assert_eq!(
        frozen(&freeze, "2026-11-20T12:00:00Z"),
        until("2026-11-20T23:00:00Z", "late")
    );
    assert!(serde_json::from_str::<Freeze>(r#"{"zone": "UTC"}"#).is_err());
}
