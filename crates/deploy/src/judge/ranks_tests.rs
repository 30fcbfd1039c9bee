use super::*;

// The samples of Kayenta's `ClassifierSuite`, to ten decimals.
const PASSING: [f64; 30] = [
    9.7767343120,
    10.5870718504,
    7.8375506388,
    9.3243326886,
    8.3774505409,
    8.9359264399,
    8.2707663324,
    9.7484308126,
    11.6237467155,
    9.2753442679,
    8.1538047749,
    10.5620209757,
    13.4981355754,
    11.0544192561,
    6.9538903590,
    12.5210083421,
    9.0216358603,
    4.9234856699,
    11.2513602036,
    11.5984495080,
    8.4352322046,
    11.1102285168,
    10.7006338016,
    8.9212773652,
    10.0861670679,
    11.4210751548,
    9.3792347813,
    7.7980320148,
    10.6233980727,
    11.9096420620,
];
const AROUND_TEN: [f64; 30] = [
    11.1453586774,
    9.9618059885,
    7.0685743063,
    7.3012661810,
    9.7944630265,
    9.6037918603,
    6.1867793350,
    12.3455991595,
    10.3718917338,
    8.6094300785,
    9.9131626733,
    10.3613752990,
    14.2068003875,
    10.9461537547,
    10.2158766270,
    11.7397608994,
    10.9076274686,
    12.8233536944,
    8.1018609771,
    8.4981616408,
    12.1134413746,
    13.2722108099,
    10.1145793816,
    6.9463958767,
    6.2105278541,
    10.1604016849,
    8.3457712066,
    8.3838220638,
    7.0020205070,
    10.7557574018,
];
const AROUND_TWENTY: [f64; 30] = [
    20.8784126017,
    21.7855058119,
    19.7082808471,
    15.8599469034,
    19.5100587721,
    19.3920055252,
    22.9265283149,
    17.1565302767,
    18.6551179162,
    23.4226079116,
    24.0558176841,
    22.6268995851,
    21.9794729678,
    21.6593186072,
    20.0677075740,
    22.1195708363,
    16.4403713266,
    21.5596228263,
    21.0001814434,
    17.7793694114,
    17.8060063589,
    18.5372006183,
    20.5555503002,
    19.5529281844,
    21.7711189440,
    21.8096228061,
    20.9617629099,
    20.9775715775,
    19.1063032054,
    16.9769189669,
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

/// The interval of a shift of 1.3 begins above nothing, and below a quarter of the estimate.
#[test]
fn the_interval_must_lie_beyond_the_tolerance() {
    let shifted = AROUND_TEN.map(|v| v + 1.3);
    let with = |tolerance| Ranks {
        tolerance,
        ..Ranks::default()
    };
    let test = with(0.0).classify(&shifted, &AROUND_TEN, 0.95).test.unwrap();
    assert!(test.low > 0.0 && test.low < 0.25 * test.shift, "{test:?}");
    assert_eq!(class(&with(0.0), &shifted, &AROUND_TEN), Class::High);
    assert_eq!(class(&with(0.25), &shifted, &AROUND_TEN), Class::Pass);
    assert_eq!(class(&with(0.0), &AROUND_TEN, &shifted), Class::Low);
    assert_eq!(class(&with(0.25), &AROUND_TEN, &shifted), Class::Pass);
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
    let spent: f64 = (1..=20).map(|look| 1.0 - at(look)).sum();
    assert!(
        (spent - 0.04 * 20.0 / 21.0).abs() < 1e-12,
        "twice the first look's, in all: {spent}"
    );
}

#[test]
fn too_few_points_are_no_data() {
    let found = Ranks::default().assess(&[9.0; 5], &AROUND_TEN, 1, 10);
    assert_eq!(found.0, Outcome::NoData);
}
