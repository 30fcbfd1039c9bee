use super::*;

// The samples of Kayenta's `ClassifierSuite`.
const PASSING: [f64; 30] = [
    9.7767343120109462,
    10.587071850477695,
    7.8375506388901766,
    9.3243326886113884,
    8.3774505409784421,
    8.9359264399606282,
    8.2707663324728511,
    9.7484308126716925,
    11.623746715547156,
    9.2753442679633942,
    8.1538047749171518,
    10.562020975754294,
    13.498135575451835,
    11.054419256110332,
    6.9538903590055092,
    12.521008342195479,
    9.0216358603546443,
    4.9234856699531662,
    11.251360203607172,
    11.598449508040337,
    8.435232204668182,
    11.110228516867279,
    10.70063380164755,
    8.9212773652115249,
    10.086167067942661,
    11.42107515483087,
    9.3792347813644952,
    7.7980320148552593,
    10.62339807275746,
    11.909642062063739,
];
const AROUND_TEN: [f64; 30] = [
    11.1453586774086,
    9.9618059885597017,
    7.068574306369829,
    7.3012661810483657,
    9.7944630265656727,
    9.6037918603687302,
    6.1867793350339388,
    12.345599159550174,
    10.371891733859533,
    8.6094300785016724,
    9.913162673361084,
    10.361375299003466,
    14.206800387518818,
    10.946153754753301,
    10.215876627044048,
    11.739760899484603,
    10.907627468626439,
    12.823353694464775,
    8.1018609771732137,
    8.4981616408804932,
    12.113441374697231,
    13.272210809932028,
    10.114579381663297,
    6.9463958767978067,
    6.2105278541727778,
    10.160401684903775,
    8.3457712066455461,
    8.383822063895833,
    7.0020205070083765,
    10.755757401808442,
];
const AROUND_TWENTY: [f64; 30] = [
    20.878412601720026,
    21.78550581191622,
    19.70828084717019,
    15.859946903461562,
    19.510058772176841,
    19.392005525270303,
    22.926528314912101,
    17.156530276709894,
    18.655117916226171,
    23.422607911610392,
    24.055817684156644,
    22.62689958516501,
    21.979472967817678,
    21.659318607218694,
    20.067707574072426,
    22.119570836305414,
    16.44037132663307,
    21.559622826341268,
    21.000181443489218,
    17.779369411412663,
    17.806006358943584,
    18.537200618386109,
    20.555550300210797,
    19.552928184468378,
    21.771118944087092,
    21.809622806176627,
    20.961762909905271,
    20.977571577503021,
    19.106303205498794,
    16.976918966987078,
];

fn class(ranks: &Ranks, canary: &[f64], baseline: &[f64]) -> Class {
    ranks.classify(canary, baseline, 0.95).class
}

fn suite(direction: Direction) -> Ranks {
    Ranks {
        direction,
        tolerance: 0.10,
        ..Ranks::default()
    }
}

/// Kayenta's `ClassifierSuite`: "Pass Metric", "High Metric", "Low Metric" and the directional tests (tolerance 0.10, 95 %).
#[test]
fn classes_as_kayentas_own_tests_have_them() {
    let either = suite(Direction::Either);
    assert_eq!(class(&either, &PASSING, &AROUND_TEN), Class::Pass);
    assert_eq!(class(&either, &AROUND_TWENTY, &AROUND_TEN), Class::High);
    assert_eq!(class(&either, &PASSING, &AROUND_TWENTY), Class::Low);
    assert_eq!(
        class(&suite(Direction::Increase), &PASSING, &AROUND_TWENTY),
        Class::Pass
    );
    assert_eq!(
        class(&suite(Direction::Decrease), &AROUND_TWENTY, &AROUND_TEN),
        Class::Pass
    );
    assert_eq!(
        class(&suite(Direction::Increase), &AROUND_TWENTY, &AROUND_TEN),
        Class::High
    );
    assert_eq!(
        class(&suite(Direction::Decrease), &PASSING, &AROUND_TWENTY),
        Class::Low
    );
}

/// The same suite: tied observations, identical populations, a leading zero, missing data.
#[test]
fn odd_samples_as_kayentas_own_tests_have_them() {
    let decrease = suite(Direction::Decrease);
    assert_eq!(class(&decrease, &[1.0; 3], &[1.0; 2]), Class::Pass);
    assert_eq!(
        class(&decrease, &[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 4.0, 3.0, 2.0, 1.0]),
        Class::Pass
    );
    assert_eq!(
        class(&decrease, &[0.0, 1.0, 1.0, 1.0, 1.0], &[1.0; 5]),
        Class::Pass
    );
    assert_eq!(class(&decrease, &[], &[1.0, 2.0]), Class::NoData);
}

/// Kayenta adds noise to tell two constants apart; without chance they are told apart by what they are.
#[test]
fn two_constants_differ_if_they_do() {
    assert_eq!(
        class(&suite(Direction::Either), &[2.0; 30], &[1.0; 30]),
        Class::High
    );
    assert_eq!(
        class(&suite(Direction::Either), &[1.0; 30], &[2.0; 30]),
        Class::Low
    );
}

#[test]
fn an_effect_must_be_as_large_as_is_not_allowed() {
    let with = |effect| Ranks {
        effect,
        ..suite(Direction::Either)
    };
    let ratio = mean(&AROUND_TWENTY) / mean(&AROUND_TEN);
    assert!(ratio > 2.0 && ratio < 2.1);
    let allowed = |increase| {
        with(EffectSize {
            allowed_increase: Some(increase),
            ..EffectSize::default()
        })
    };
    assert_eq!(class(&allowed(2.0), &AROUND_TWENTY, &AROUND_TEN), Class::High);
    assert_eq!(class(&allowed(2.1), &AROUND_TWENTY, &AROUND_TEN), Class::Pass);
    let critical = with(EffectSize {
        critical_increase: Some(2.0),
        ..EffectSize::default()
    });
    assert!(critical.classify(&AROUND_TWENTY, &AROUND_TEN, 0.95).critical);
    let by_chance = with(EffectSize {
        measure: Measure::Cles,
        allowed_increase: Some(0.99),
        ..EffectSize::default()
    });
    assert_eq!(class(&by_chance, &AROUND_TWENTY, &AROUND_TEN), Class::High);
    assert_eq!(by_chance.classify(&AROUND_TWENTY, &AROUND_TEN, 0.95).effect, 1.0);
}

#[test]
fn outliers_may_be_left_out() {
    let mut wild = AROUND_TEN;
    wild[3] = 1000.0;
    let removing = Ranks {
        outliers: Outliers::Remove(3.0),
        ..Ranks::default()
    };
    assert_eq!(removing.classify(&wild, &PASSING, 0.98).points.canary, 29.0);
    assert_eq!(
        Ranks::default().classify(&wild, &PASSING, 0.98).points.canary,
        30.0
    );
}

#[test]
fn later_looks_ask_for_more_confidence() {
    let ranks = Ranks::default();
    let at = |look| ranks.assess(&PASSING, &AROUND_TEN, look, 10).3.limits["confidence"];
    assert!((at(1) - 0.98).abs() < 1e-12, "the first look is Kayenta's");
    assert!((at(2) - (1.0 - 0.02 / 3.0)).abs() < 1e-12);
    let spent: f64 = (1..10_000).map(|look| 1.0 - at(look)).sum();
    assert!(spent < 0.04, "{spent}");
}

#[test]
fn too_few_points_are_no_data() {
    let found = Ranks::default().assess(&[9.0; 5], &AROUND_TEN, 1, 10);
    assert_eq!(found.0, Outcome::NoData);
}
