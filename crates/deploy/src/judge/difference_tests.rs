use super::super::plan::Compare;
use super::*;

fn close(found: f64, published: f64, within: f64) {
    assert!(
        (found - published).abs() <= within,
        "found {found}, published {published}"
    );
}

/// Newcombe, Statistics in Medicine 17 (1998) 857-872 and 873-890: 56/70 against 48/80, method 10: 0.0524 to 0.3339;
/// 81/263 by Wilson's score method: 0.2553 to 0.3662.
#[test]
fn shares_as_newcombe_has_them() {
    let sides = Counted {
        canary: (56.0 / 70.0, 70.0),
        baseline: (48.0 / 80.0, 80.0),
    };
    let found = sides.newcombe(Chances {
        low: 0.025,
        high: 0.025,
        lower: Lower::Stop,
    });
    close(found.value, 0.2, 1e-12);
    close(found.low, 0.0524, 5e-5);
    close(found.high, 0.3339, 5e-5);
    let (low, high) = wilson(81.0 / 263.0, 263.0, normal_quantile(0.025));
    close(low, 0.2553, 5e-5);
    close(high, 0.3662, 5e-5);
}

/// Tables of Student's t and of the normal distribution (Fisher and Yates).
#[test]
fn quantiles_as_printed() {
    close(t_quantile(0.025, 10.0), 2.228, 5e-4);
    close(t_quantile(0.0005, 10.0), 4.587, 5e-4);
    close(t_quantile(0.0005, 60.0), 3.460, 5e-4);
    // With one degree of freedom it is Cauchy's: tan(π (0.5 - chance)).
    close(
        t_quantile(1e-6, 1.0) / (std::f64::consts::PI * (0.5 - 1e-6)).tan(),
        1.0,
        1e-6,
    );
    close(normal_quantile(0.005), 2.575829, 1e-6);
}

/// All that a course can ask for: no answer is missing, and more certainty or fewer points reach farther.
#[test]
fn quantiles_are_in_order_everywhere() {
    let freedoms = [1.0, 1.3, 2.0, 3.7, 8.0, 20.0, 58.0, 300.0, 999.0, 1001.0];
    let chances = [0.4, 0.1, 0.02, 5e-3, 1e-4, 1e-6, 1e-9, 1e-12];
    for pair in chances.windows(2) {
        for freedom in freedoms {
            let (near, far) = (t_quantile(pair[0], freedom), t_quantile(pair[1], freedom));
            assert!(
                near.is_finite() && far.is_finite() && near < far,
                "{pair:?} {freedom}: {near} {far}"
            );
        }
    }
    for chance in chances {
        for pair in freedoms.windows(2) {
            let (less, more) = (t_quantile(chance, pair[0]), t_quantile(chance, pair[1]));
            assert!(less >= more * (1.0 - 1e-6), "{chance} {pair:?}: {less} {more}");
        }
    }
}

fn steady(count: usize, canary: f64, baseline: f64, requests: f64) -> Vec<Pair> {
    vec![
        Pair {
            canary,
            baseline,
            requests: Some((requests, requests))
        };
        count
    ]
}

#[test]
fn shares_that_do_not_vary_still_have_the_bounds_of_their_counts() {
    let chances = Chances {
        low: 0.01,
        high: 0.01,
        lower: Lower::Stop,
    };
    let found = difference(&steady(20, 0.0, 0.0, 10.0), &Compare::error_rate(), chances).unwrap();
    assert_eq!((found.whole.value, found.growing.value), (0.0, 0.0));
    // 200 requests without an error: by Wilson, up to z² / (n + z²) of them may have had one.
    let z2 = normal_quantile(0.01).powi(2);
    close(found.whole.high, z2 / (200.0 + z2), 1e-9);
    assert!(found.growing.high > 0.01, "{:?}", found.growing);
}

/// As a HAProxy counted them in each second of a canary that failed one request in twenty, at 200 requests a second.
const AT_A_BEAT: [f64; 24] = [
    0.0431, 0.0513, 0.0461, 0.0458, 0.0523, 0.0530, 0.0470, 0.0533, 0.0520, 0.0530, 0.0533, 0.0544, 0.0533,
    0.0533, 0.0467, 0.0470, 0.0470, 0.0467, 0.0455, 0.0458, 0.0467, 0.0533, 0.0516, 0.0464,
];

fn errors(of: impl Fn(usize) -> f64) -> Vec<Pair> {
    let pair = |i| Pair {
        canary: of(i),
        baseline: 0.0,
        requests: Some((200.0, 800.0)),
    };
    (0..AT_A_BEAT.len()).map(pair).collect()
}

/// Neighbours resemble each other there, but vary less than by counting: nothing but counting is to be feared.
#[test]
fn errors_at_a_beat_are_as_certain_as_their_number() {
    let chances = Chances {
        low: 1e-5,
        high: 0.005,
        lower: Lower::Stop,
    };
    let judged = |pairs: &[Pair]| difference(pairs, &Compare::error_rate(), chances).unwrap();
    let found = judged(&errors(|i| AT_A_BEAT[i]));
    assert!(found.autocorrelation > 5.0, "{found:?}");
    close(found.whole.value, 0.05, 0.001);
    // 240 of 4800 against none of 19,200.
    for effect in [found.whole, found.growing] {
        let reach = effect.value - effect.low;
        assert!((0.01..0.04).contains(&reach), "{effect:?}");
    }
    // What wanders as slowly, and farther, may be chance.
    let wanders = judged(&errors(|i| 0.05 + 6.0 * (AT_A_BEAT[i] - 0.05)));
    assert_eq!(wanders.whole.low, -1.0, "{wanders:?}");
}

/// Simpson's paradox: errors rise for both from 1 % to 5 % while the canary's part of the traffic grows from a tenth to a half.
#[test]
fn a_change_of_the_split_is_no_effect() {
    let hour = |share: f64, rate: f64| Pair {
        canary: rate,
        baseline: rate,
        requests: Some((1000.0 * share, 1000.0 * (1.0 - share))),
    };
    let pairs: Vec<Pair> = (0..20)
        .map(|i| if i < 10 { hour(0.1, 0.01) } else { hour(0.5, 0.05) })
        .collect();
    let found = difference(
        &pairs,
        &Compare::error_rate(),
        Chances {
            low: 0.01,
            high: 0.01,
            lower: Lower::Stop,
        },
    )
    .unwrap();
    close(found.whole.value, 0.0, 1e-12);
    assert_eq!(
        found.requests,
        Some(PerSide {
            canary: 6000.0,
            baseline: 14000.0
        })
    );
}

/// One of two requests that failed is no rate of 50 %.
#[test]
fn an_interval_weighs_what_its_requests_tell() {
    let mut pairs = steady(10, 0.01, 0.01, 1000.0);
    pairs.push(Pair {
        canary: 0.5,
        baseline: 0.0,
        requests: Some((2.0, 2.0)),
    });
    let found = difference(
        &pairs,
        &Compare::error_rate(),
        Chances {
            low: 0.01,
            high: 0.01,
            lower: Lower::Stop,
        },
    )
    .unwrap();
    close(found.whole.value, 0.5 / 5001.0, 1e-12);
}

#[test]
fn an_even_growth_is_known_by_its_end() {
    let pairs: Vec<Pair> = (1..=100)
        .map(|i| Pair {
            canary: 100.0 * 1.2_f64.powf(f64::from(i) / 100.0),
            baseline: 100.0,
            requests: None,
        })
        .collect();
    let found = difference(
        &pairs,
        &Compare::latency(0.95),
        Chances {
            low: 0.01,
            high: 0.01,
            lower: Lower::Stop,
        },
    )
    .unwrap();
    close(found.growing.value.exp(), 1.2, 1e-9);
    close(found.whole.value, 1.2_f64.ln() * 0.505, 1e-9);
    close(found.growing.high, found.growing.value, 1e-9);
}

/// An AR(1) process of correlation 0.5 has a mean of three times the variance (1 + 0.5) / (1 - 0.5) of independent points.
#[test]
fn neighbours_that_resemble_each_other_widen_the_bounds() {
    let mut state: u64 = 7;
    let mut noise = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let independent: Vec<f64> = (0..2000).map(|_| noise()).collect();
    let mut last = 0.0;
    let alike: Vec<f64> = (0..2000)
        .map(|_| {
            last = 0.5 * last + noise();
            last
        })
        .collect();
    close(variance_inflation(&independent, 0.0), 1.0, 0.35);
    close(variance_inflation(&alike, 0.0), 3.0, 0.6);
    assert_eq!(variance_inflation(&[0.0; 9], 8.0), 1.0);
}

#[test]
fn one_wild_interval_does_not_decide_a_latency() {
    let wobble = |i: i32| 1.0 + 0.01 * f64::from(i * 7 % 11 - 5);
    let mut pairs: Vec<Pair> = (0..50)
        .map(|i| Pair {
            canary: 100.0 * wobble(i),
            baseline: 100.0 * wobble(i + 3),
            requests: None,
        })
        .collect();
    pairs[20].canary = 30_000.0;
    let found = difference(
        &pairs,
        &Compare::latency(0.95),
        Chances {
            low: 0.01,
            high: 0.01,
            lower: Lower::Stop,
        },
    )
    .unwrap();
    assert!(
        found.whole.value.exp() < 1.02 && found.whole.high.exp() < 1.1,
        "{:?}",
        found.whole
    );
}

#[test]
fn quantiles_of_few_requests_are_left_out_unless_both_sides_have_as_few() {
    let compare = Compare::latency(0.95);
    let of = |canary, baseline| Pair {
        canary: 1.0,
        baseline: 1.0,
        requests: Some((canary, baseline)),
    };
    let kept = |pair| usable(&[pair], &compare, false).len();
    assert_eq!(kept(of(50.0, 450.0)), 0);
    assert_eq!(kept(of(100.0, 900.0)), 1);
    assert_eq!(kept(of(50.0, 50.0)), 1);
    assert_eq!(kept(of(10.0, 10.0)), 0);
    assert_eq!(
        kept(Pair {
            canary: 0.0,
            baseline: 1.0,
            requests: None
        }),
        0,
        "no logarithm"
    );
}
