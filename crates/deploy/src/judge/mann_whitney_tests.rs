use super::*;

/// How exactly `statrs` knows the normal distribution.
const NORMAL: f64 = 1e-9;

fn close(found: f64, published: f64, within: f64) {
    assert!(
        (found - published).abs() <= within,
        "found {found}, published {published}"
    );
}

/// Water permeability of the human chorioamnion: Hollander & Wolfe, Nonparametric Statistical Methods (2nd ed. 1999), table 4.1.
const AT_TERM: [f64; 10] = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
const EARLIER: [f64; 5] = [1.15, 0.88, 0.90, 0.74, 1.21];

/// p: R's `wilcox.test(x, y, exact = TRUE)` as cited in SciPy's `test_gh_9184`; interval and estimate: Hollander & Wolfe p. 111,
/// as printed by the R package coin's `wilcox_test(..., distribution = "exact", conf.int = TRUE)`: -0.76 0.15, -0.305 for y - x.
#[test]
fn exact_as_hollander_and_wolfe_have_it() {
    let found = mann_whitney(&AT_TERM, &EARLIER, 0.95, Method::Auto).unwrap();
    assert!(found.exact);
    close(found.u, 35.0, 0.0);
    close(found.p_value, 0.2544122544123, 1e-12);
    close(found.shift, 0.305, 1e-12);
    close(found.low, -0.15, 1e-12);
    close(found.high, 0.76, 1e-12);
}

/// R: `wilcox.test(x, y, exact = FALSE)`, as cited in SciPy's `test_gh_9184`.
#[test]
fn the_normal_approximation_corrects_for_continuity() {
    let found = mann_whitney(&AT_TERM, &EARLIER, 0.95, Method::Normal).unwrap();
    close(found.p_value, 0.244623605127, NORMAL);
    let other_way = mann_whitney(&EARLIER, &AT_TERM, 0.95, Method::Normal).unwrap();
    close(other_way.p_value, found.p_value, NORMAL);
    close(other_way.shift, -found.shift, 1e-6);
    close(other_way.low, -found.high, 1e-6);
}

/// R values cited in SciPy's `cases_basic`.
#[test]
fn as_r_has_it_for_three_against_thirteen() {
    let x = [210.052110, 110.190630, 307.918612];
    let y = [
        436.088114824664,
        416.373973297681,
        179.969759394635,
        197.811875422861,
        34.038757281225756,
        138.542205509215,
        128.776935147024,
        265.927214279518,
        275.661753315534,
        592.340833954162,
        448.731775906170,
        300.614951850389,
        187.975084490195,
    ];
    let exact = mann_whitney(&x, &y, 0.95, Method::Exact).unwrap();
    close(exact.u, 16.0, 0.0);
    close(exact.p_value, 0.7035714285714, 1e-12);
    let normal = mann_whitney(&x, &y, 0.95, Method::Normal).unwrap();
    close(normal.p_value, 0.6865041817876, NORMAL);
}

/// R: `wilcox.test(x, y, exact = FALSE)` with x = 1..4 and y near 1..5, as cited in SciPy's `test_tie_correct`.
#[test]
fn the_normal_approximation_corrects_for_ties() {
    let x = [1.0, 2.0, 3.0, 4.0];
    let some = [0.0, 0.01, 0.0, 0.01, 0.0];
    let one = [0.0, 0.0, 0.01, 0.0, 0.0];
    let all = [0.01; 5];
    let published: [([f64; 5], f64, f64, f64); 7] = [
        (all, -1.0, 10.0, 1.0),
        (some, -1.0, 9.0, 0.9017048037317),
        (one, -1.0, 8.5, 0.804080657472),
        (one, 0.0, 8.0, 0.7086240584439),
        (one, 1.0, 7.5, 0.6197963884941),
        (some, 1.0, 7.0, 0.5368784563079),
        (all, 1.0, 6.0, 0.3912672792826),
    ];
    for (moved, sign, u, p) in published {
        let y: Vec<f64> = moved
            .iter()
            .zip(1..)
            .map(|(by, at)| f64::from(at) + sign * by)
            .collect();
        let found = mann_whitney(&x, &y, 0.95, Method::Auto).unwrap();
        assert_eq!(found.exact, u == 10.0 || u == 6.0, "exact only without ties");
        let found = mann_whitney(&x, &y, 0.95, Method::Normal).unwrap();
        close(found.u, u, 0.0);
        close(found.p_value, p, NORMAL);
    }
}

/// May and August ozone of R's data set `airquality`. R's help for `wilcox.test`: W = 127.5, p-value = 0.0001208.
#[test]
fn as_rs_help_page_has_it_for_ozone() {
    let may = [
        41., 36., 12., 18., 28., 23., 19., 8., 7., 16., 11., 14., 18., 14., 34., 6., 30., 11., 1., 11., 4.,
        32., 23., 45., 115., 37.,
    ];
    let august = [
        39., 9., 16., 78., 35., 66., 122., 89., 110., 44., 28., 65., 22., 59., 23., 31., 44., 21., 9., 45.,
        168., 73., 76., 118., 84., 85.,
    ];
    let found = mann_whitney(&may, &august, 0.95, Method::Auto).unwrap();
    assert!(!found.exact, "there are ties");
    close(found.u, 127.5, 0.0);
    close(found.p_value, 0.0001208, 5e-8);
    close(cles(&may, &august).unwrap(), 127.5 / 676.0, 1e-15);
}

/// Kayenta's `MannWhitneySuite` (v1): control 1, 2, 3, 4 and experiment 10, 20, 30, 40 give 6 to 39 around 22.5, p = 2/70.
#[test]
fn as_kayentas_own_test_has_it() {
    let (experiment, control) = ([10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]);
    let exact = mann_whitney(&experiment, &control, 0.95, Method::Auto).unwrap();
    close(exact.p_value, 0.02857142857142857, 1e-12);
    for method in [Method::Exact, Method::Normal] {
        let found = mann_whitney(&experiment, &control, 0.95, method).unwrap();
        close(found.low, 6.0, 1e-6);
        close(found.high, 39.0, 1e-6);
        close(found.shift, 22.5, 1e-6);
    }
}

/// Mann and Whitney (1947), the tables on page 52: P(U ≤ u) for samples of 6 and 5, and of 4 and 4.
#[test]
fn exact_chances_as_mann_and_whitney_printed_them() {
    let printed = [
        0.002, 0.004, 0.009, 0.015, 0.026, 0.041, 0.063, 0.089, 0.123, 0.165, 0.214, 0.268, 0.331, 0.396,
        0.465, 0.535,
    ];
    for ways in [cumulative(6, 5), cumulative(5, 6)] {
        for (found, printed) in ways.iter().zip(printed) {
            close(*found, printed, 1e-3);
        }
        close(*ways.last().unwrap(), 1.0, 1e-12);
    }
    let four = [0.014, 0.029, 0.057, 0.1, 0.171, 0.243, 0.343, 0.443, 0.557];
    cumulative(4, 4)
        .iter()
        .zip(four)
        .for_each(|(found, printed)| close(*found, printed, 1e-3));
}

#[test]
fn exact_and_normal_agree_where_both_are_good() {
    let x: Vec<f64> = (0..45).map(|i| f64::from(i * 37 % 101)).collect();
    let y: Vec<f64> = (0..44).map(|i| f64::from(i * 53 % 97) + 8.5).collect();
    let exact = mann_whitney(&x, &y, 0.98, Method::Exact).unwrap();
    let normal = mann_whitney(&x, &y, 0.98, Method::Normal).unwrap();
    close(exact.p_value, normal.p_value, 2e-3);
    close(exact.shift, normal.shift, 1.0);
    close(exact.low, normal.low, 1.0);
    close(exact.high, normal.high, 1.0);
}

#[test]
fn nothing_to_compare_is_no_answer() {
    assert_eq!(mann_whitney(&[], &[1.0], 0.95, Method::Auto), None);
    assert_eq!(mann_whitney(&[2.0; 9], &[2.0; 5], 0.95, Method::Auto), None);
    assert_eq!(
        mann_whitney(&[f64::NAN, 1.0], &[2.0, 3.0], 0.95, Method::Auto),
        None
    );
    assert_eq!(cles(&[], &[1.0]), None);
}

/// Kayenta's `EffectSizeSuite`, "Low Metric" and "High Metric".
#[test]
fn cles_as_kayentas_own_tests_have_it() {
    let experiment = [
        22.58442682,
        18.83161858,
        22.34282944,
        18.52177725,
        19.41399147,
        21.77120485,
        24.33796385,
        22.16390531,
        23.781802,
        21.38514296,
        22.2205035,
        22.06152361,
        21.30313392,
        21.59652134,
        22.38394223,
        24.68882792,
        20.58916439,
        21.03137302,
        22.26213957,
        23.76485986,
        20.56271226,
        24.56567102,
        19.86055958,
        22.18967677,
        20.31475409,
        19.2634656,
        24.60283585,
        20.41729998,
        20.62069798,
        22.53448767,
    ];
    let control = [
        23.15322873,
        22.09179077,
        26.56410603,
        23.0971542,
        24.26372276,
        25.6461273,
        29.42730472,
        22.08630097,
        29.15257054,
        25.8096766,
        24.62191338,
        23.67398895,
        23.63946085,
        26.44684325,
        25.76230914,
        25.41279862,
        22.64005862,
        24.58898152,
        25.01968457,
        25.03695883,
        23.79864705,
        26.60180151,
        25.99405034,
        22.46726084,
        28.31843786,
        24.30152484,
        22.83713467,
        21.92380184,
        23.44735223,
        29.15676219,
    ];
    close(cles(&experiment, &control).unwrap(), 0.12, 1e-12);
    let one_to_five = [1.0, 2.0, 3.0, 4.0, 5.0];
    close(cles(&one_to_five, &one_to_five).unwrap(), 0.5, 1e-12);
}
