use std::collections::BTreeMap;

use chrono::DateTime;
use ports::{Sample, Series};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What every answer is wrapped in, a good one and a refusal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub status: String,
    pub data: Option<Data>,
    pub error_type: Option<String>,
    pub error: Option<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// VictoriaMetrics' way to say that some of its nodes did not answer.
    #[serde(default)]
    pub is_partial: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    Matrix(Vec<RawSeries>),
}

#[derive(Debug, Deserialize)]
pub(super) struct RawSeries {
    metric: BTreeMap<String, String>,
    /// Seconds, and the number as text: `NaN` and `+Inf` are no JSON.
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

/// Why a good answer is none for us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Whole histograms instead of numbers.
    Histograms,
    Unreadable(String),
}

impl Answer {
    /// What makes the answer less than the whole. PromQL's own remarks about a query take nothing from its data.
    pub fn lacks(&self) -> Vec<String> {
        let partial = self
            .is_partial
            .then(|| "some of its nodes did not answer".to_owned());
        let warnings = self.warnings.iter().filter(|text| !is_remark(text)).cloned();
        partial.into_iter().chain(warnings).collect()
    }

    pub fn remarks(&self) -> impl Iterator<Item = &String> {
        self.warnings.iter().filter(|text| is_remark(text))
    }
}

fn is_remark(warning: &str) -> bool {
    warning.starts_with("PromQL ")
}

/// The samples that are numbers, in the port's order.
pub(super) fn series(raw: Vec<RawSeries>) -> Result<Vec<Series>, Unfit> {
    let mut answer = Vec::with_capacity(raw.len());
    for raw in raw {
        if !raw.histograms.is_empty() {
            return Err(Unfit::Histograms);
        }
        let mut samples = Vec::with_capacity(raw.values.len());
        for (seconds, text) in raw.values {
            let value: f64 = text
                .parse()
                .map_err(|_| Unfit::Unreadable(format!("`{text}` is no number")))?;
            if value.is_finite() {
                let at = DateTime::from_timestamp_millis((seconds * 1000.0).round() as i64)
                    .ok_or_else(|| Unfit::Unreadable(format!("{seconds} is no time")))?;
                samples.push(Sample { at, value });
            }
        }
        if !samples.is_empty() {
            samples.sort_by_key(|sample| sample.at);
            answer.push(Series {
                labels: raw.metric,
                samples,
            });
        }
    }
    answer.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(result: &str) -> Result<Vec<Series>, Unfit> {
        let answer = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
        let answer: Answer = serde_json::from_str(&answer).expect("an answer");
        let Some(Data::Matrix(raw)) = answer.data else {
            panic!("no data")
        };
        series(raw)
    }

    #[test]
    fn times_keep_their_milliseconds_and_what_is_no_number_is_left_out() {
        let read = read(
            r#"[{"metric":{"b":"1"},"values":[[1435781430.781,"1e-3"],[1435781431,"-Inf"],[1435781432,"NaN"]]},
                {"metric":{"a":"1"},"values":[[1.5,"NaN"]]}]"#,
        );
        let read = read.expect("is understood");
        assert_eq!(read.len(), 1, "a series without a number is none: {read:?}");
        let samples: Vec<_> = read[0]
            .samples
            .iter()
            .map(|s| (s.at.timestamp_millis(), s.value))
            .collect();
        assert_eq!(samples, [(1_435_781_430_781, 0.001)]);
    }

    #[test]
    fn histograms_and_nonsense_are_no_samples() {
        let histogram = r#"[{"metric":{},"histograms":[[1.5,{"count":"3","sum":"2"}]]}]"#;
        assert_eq!(read(histogram), Err(Unfit::Histograms));
        let nonsense = r#"[{"metric":{},"values":[[1.5,"three"]]}]"#;
        assert_eq!(
            read(nonsense),
            Err(Unfit::Unreadable("`three` is no number".to_owned()))
        );
    }

    #[test]
    fn a_remark_about_the_query_is_no_gap_in_the_data() {
        let answer = r#"{"status":"success","warnings":["PromQL warning: quantile value should be between 0 and 1",
            "remote read failed"],"isPartial":true}"#;
        let answer: Answer = serde_json::from_str(answer).expect("an answer");
        assert_eq!(
            answer.lacks(),
            ["some of its nodes did not answer", "remote read failed"]
        );
        assert_eq!(answer.remarks().count(), 1);
    }
}
