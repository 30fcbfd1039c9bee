//! Lists of new tasks as they are sent: one JSON object that holds them, or one task a line. Each is judged as it is read,
//! and what is wrong with one is told with its place.

use std::fmt;

use domain::NewTask;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use store::MAX_TASKS;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};
use crate::input::{NewTaskBody, new_task, read_task};
use crate::json::{self, Met, Strict};
use crate::many::too_many;

const SHAPE: &str = r#"Send {"tasks": [{"type": "deploy", "payload": {…}}, …]}, that list alone, or one task a line as application/x-ndjson"#;

/// Tasks to be made.
#[derive(Debug, ToSchema)]
#[schema(as = ManyTasks)]
pub struct Listed {
    /// At most 10,000, each as `POST /api/tasks` takes it.
    #[schema(value_type = Vec<NewTaskBody>, max_items = 10_000)]
    pub tasks: Vec<NewTask>,
    /// Where they came one a line: of each, from 1.
    #[schema(ignore)]
    lines: Vec<usize>,
}

impl Listed {
    pub fn line(&self, place: usize) -> Option<usize> {
        self.lines.get(place).copied()
    }
}

/// An error of one task as one of the list's.
pub fn at(place: usize, line: Option<usize>, error: ApiError) -> ApiError {
    let mut error = error;
    let task = format!("tasks[{place}]");
    let whose = line.map_or_else(|| task.clone(), |line| format!("line {line}"));
    error.error.what = format!("{whose}: {}", error.error.what);
    error.field = Some(match error.field {
        Some(field) => format!("{task}.{field}"),
        None => task,
    });
    error
}

/// One task a line; blank lines are passed over.
pub fn of_lines(body: &[u8]) -> ApiResult<Listed> {
    let mut listed = Listed {
        tasks: Vec::new(),
        lines: Vec::new(),
    };
    for (before, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = listed.tasks.len();
        if place == MAX_TASKS {
            return Err(too_many());
        }
        listed.lines.push(before + 1);
        let task = read_task(line).map_err(|error| at(place, Some(before + 1), error))?;
        listed.tasks.push(task);
    }
    Ok(listed)
}

/// `{"tasks": […]}`, or the list alone.
pub fn of_json(body: &[u8]) -> ApiResult<Listed> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = (&mut reading).deserialize(&mut json).and_then(|()| json.end());
    match (read, reading.fault) {
        (_, Some(fault)) => Err(fault),
        // The deepest value stands in the task that was being read.
        (Err(error), None) if reading.inside => {
            let fault = reading.met.fault(&error, SHAPE);
            Err(at(reading.tasks.len(), None, fault))
        }
        (Err(error), None) if error.is_data() => {
            Err(ApiError::unreadable(format!("the body is no list of tasks: {error}")).next(SHAPE))
        }
        (Err(error), None) => Err(Met::default().fault(&error, SHAPE)),
        (Ok(()), None) => {
            json::kept(body, &reading.large)?;
            Ok(Listed {
                tasks: reading.tasks,
                lines: Vec::new(),
            })
        }
    }
}

#[derive(Default)]
struct Reading {
    tasks: Vec<NewTask>,
    inside: bool,
    /// In the task that is being read.
    met: Met,
    /// The places of large numbers in all tasks.
    large: Vec<String>,
    fault: Option<ApiError>,
}

impl Reading {
    /// Ends the reading; the words are not shown.
    fn stop<E: serde::de::Error>(&mut self, fault: ApiError) -> E {
        self.fault = Some(fault);
        E::custom("")
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object with the field `tasks`, or a list of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        Items(self).visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(field) = map.next_key::<String>()? {
            if field != "tasks" {
                let fault = ApiError::field(&field, format!("there is no field `{field}` beside `tasks`"));
                return Err(self.stop(fault.next(SHAPE)));
            }
            if std::mem::replace(&mut seen, true) {
                return Err(A::Error::duplicate_field("tasks"));
            }
            map.next_value_seed(Items(&mut *self))?;
        }
        match seen {
            true => Ok(()),
            false => Err(self.stop(ApiError::field("tasks", "`tasks` is missing").next(SHAPE))),
        }
    }
}

struct Items<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let reading = self.0;
        loop {
            let place = reading.tasks.len();
            if place == MAX_TASKS {
                return match items.next_element::<IgnoredAny>()? {
                    Some(_) => Err(reading.stop(too_many())),
                    None => Ok(()),
                };
            }
            reading.inside = true;
            reading.met = Met::default();
            let item = items.next_element_seed(Strict(&mut reading.met))?;
            reading.inside = false;
            let large = std::mem::take(&mut reading.met).large();
            let of_task = |path: &String| format!("tasks[{place}].{path}");
            reading.large.extend(large.iter().map(of_task));
            match item.map(new_task) {
                Some(Ok(task)) => reading.tasks.push(task),
                Some(Err(fault)) => return Err(reading.stop(at(place, None, fault))),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(read: ApiResult<Listed>) -> (u16, String, String) {
        let error = read.expect_err("it is refused");
        let field = error.field.unwrap_or_default();
        (error.status.as_u16(), field, error.error.to_string())
    }

    #[test]
    fn both_forms_hold_the_same_tasks() {
        let one = r#"{"type": "deploy", "priority": 7, "payload": {"a": 1}}"#;
        let two = r#"{"task_type": "fix_build"}"#;
        let json = of_json(format!(r#" {{"tasks": [{one}, {two}]}} "#).as_bytes()).expect("JSON");
        let lines = of_lines(format!("{one}\r\n\n  \n{two}").as_bytes()).expect("lines");
        assert_eq!(json.tasks, lines.tasks);
        assert_eq!((json.tasks.len(), json.tasks[0].priority.get()), (2, 7));
        assert_eq!(
            (lines.line(0), lines.line(1), json.line(1)),
            (Some(1), Some(4), None)
        );
        let alone = of_json(format!(r#"[{one}, {two}]"#).as_bytes()).expect("a list");
        assert_eq!(alone.tasks, lines.tasks);
        assert!(of_lines(b"").expect("nothing").tasks.is_empty());
        assert!(of_json(br#"{"tasks": []}"#).expect("nothing").tasks.is_empty());
    }

    #[test]
    fn a_fault_in_a_list_names_its_task() {
        let deep = format!(
            r#"{{"type": "x", "payload": {}1{}}}"#,
            r#"{"a":"#.repeat(200),
            "}".repeat(200)
        );
        let fine = r#"{"type": "x"}"#;
        for (body, status, field, says) in [
            ("5", 400, "", "an object with the field `tasks`"),
            ("[5]", 400, "tasks[0]", "a number, not an object"),
            (
                r#"[{"type": "x", "payload": {"a": 1e40}}, {"type": "x", "payload": {"b": [99999999999999999999]}}]"#,
                422,
                "tasks[1].payload.b[0]",
                "rounded",
            ),
            (
                r#"{"tasks": [{"type": "x", "type": "y"}]}"#,
                400,
                "tasks[0].type",
                "twice",
            ),
            (r#"{"tasks": {}}"#, 400, "", "a list of tasks"),
            (r#"{"tasks": [], "tasks": []}"#, 400, "", "duplicate field"),
            (r#"{"tasks": []} x"#, 400, "", "not JSON"),
            (
                r#"{"tasks": [{"#,
                400,
                "tasks[0]",
                "tasks[0]: the body is not JSON",
            ),
            ("{}", 422, "tasks", "missing"),
            (r#"{"type": "x"}"#, 422, "type", "beside `tasks`"),
            (
                &format!(r#"{{"tasks": [{fine}, {{"type": "x", "priority": 11}}]}}"#),
                422,
                "tasks[1].priority",
                "tasks[1]: priority 11",
            ),
            (
                &format!(r#"{{"tasks": [{fine}, 5]}}"#),
                400,
                "tasks[1]",
                "not an object",
            ),
            (
                &format!(r#"{{"tasks": [{fine}, {deep}]}}"#),
                422,
                "tasks[1].payload",
                "64 levels",
            ),
            (
                &format!(r#"{{"tasks": [{}]}}"#, vec![fine; MAX_TASKS + 1].join(",")),
                413,
                "tasks",
                "10000",
            ),
        ] {
            let shown: String = body.chars().take(80).collect();
            let (got, at, text) = refused(of_json(body.as_bytes()));
            assert_eq!((got, at.as_str()), (status, field), "{shown}: {text}");
            assert!(text.contains(says), "{shown}: {text}");
        }
        assert!(of_json(format!(r#"{{"tasks": [{}]}}"#, vec![fine; MAX_TASKS].join(",")).as_bytes()).is_ok());
    }

    #[test]
    fn a_fault_in_lines_names_its_line_and_its_place() {
        let deep = format!(
            "\n{{\"type\": \"x\", \"payload\": {}1{}}}",
            r#"{"a":"#.repeat(200),
            "}".repeat(200)
        );
        for (body, status, field, says) in [
            (
                "{\"type\": \"x\"}\n\n{\"type\": \"x\"",
                400,
                "tasks[1]",
                "line 3: the line is not JSON",
            ),
            (
                "{\"type\": \"x\"} {}",
                400,
                "tasks[0]",
                "line 1: the line is not JSON",
            ),
            ("[]", 400, "tasks[0]", "line 1: the task is a list, not an object"),
            (
                "{\"type\": \"x\"}\n{}",
                422,
                "tasks[1].type",
                "line 2: `type` is missing",
            ),
            (
                &deep,
                422,
                "tasks[0].payload",
                "line 2: `payload` is nested deeper than 64",
            ),
            (
                &"{\"type\": \"x\"}\n".repeat(MAX_TASKS + 1),
                413,
                "tasks",
                "10000",
            ),
        ] {
            let (got, at, text) = refused(of_lines(body.as_bytes()));
            assert_eq!((got, at.as_str()), (status, field), "{text}");
            assert!(text.contains(says), "{text}");
        }
    }
}
