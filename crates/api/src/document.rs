//! What the types alone do not say in the OpenAPI document: words that stand for states, the columns' names that are taken,
//! too, and what a request may be refused with.

use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::input::COLUMNS;

const STATUS: &[&str] = &[
    "pending",
    "claimed",
    "in_progress",
    "waiting",
    "completed",
    "failed",
    "cancelled",
];

/// Fields that hold one of a few words.
const WORDS: [(&str, &str, &[&str]); 10] = [
    ("Task", "status", STATUS),
    ("Task", "held_back", &["paused", "limit"]),
    ("NewSchedule", "overlap", &["skip", "allow"]),
    ("NewSchedule", "missed", &["once", "skip"]),
    ("Schedule", "overlap", &["skip", "allow"]),
    ("Schedule", "missed", &["once", "skip"]),
    ("Rule", "kind", &["all", "type", "repo"]),
    ("RuleDeleted", "kind", &["all", "type", "repo"]),
    ("RestingRepo", "status", &["paused", "archived"]),
    ("DeadView", "state", &["failed", "held"]),
];

/// Requests that are refused where they hold a field that is not known.
const CLOSED: [&str; 6] = [
    "NewTask",
    "ManyTasks",
    "BulkBody",
    "NewSchedule",
    "NewRule",
    "Answer",
];
/// Requests whose fields may also be called as the columns are.
const WITH_COLUMNS: [&str; 2] = ["NewTask", "BulkBody"];

/// Completes the schemas.
pub fn complete(document: &mut OpenApi) {
    for (schema, field, words) in WORDS {
        if let Some(RefOr::T(Schema::Object(field))) =
            object(document, schema).and_then(|object| object.properties.get_mut(field))
        {
            let is_optional =
                matches!(&field.schema_type, SchemaType::Array(types) if types.contains(&Type::Null));
            let words = words.iter().map(|word| Value::from(*word));
            field.enum_values = Some(words.chain(is_optional.then_some(Value::Null)).collect());
        }
    }
    for schema in CLOSED {
        if let Some(object) = object(document, schema) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    for schema in WITH_COLUMNS {
        let Some(object) = object(document, schema) else {
            continue;
        };
        for (column, field) in COLUMNS {
            if let Some(RefOr::T(Schema::Object(mut known))) = object.properties.get(field).cloned() {
                known.description = Some(format!("The same as `{field}`; one of the two is sent."));
                object
                    .properties
                    .insert(column.to_owned(), RefOr::T(known.into()));
            }
            // It may stand under its other name.
            object.required.retain(|required| required != field);
        }
    }
}

fn object<'d>(document: &'d mut OpenApi, name: &str) -> Option<&'d mut Object> {
    match document.components.as_mut()?.schemas.get_mut(name)? {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    }
}

/// What the body of many tasks may also be: the list by itself.
pub fn or_a_list(operation: &mut Operation) {
    let Some(RefOr::T(RequestBody { content, .. })) = &mut operation.request_body else {
        return;
    };
    if let Some(RefOr::T(json)) = content.get_mut("application/json")
        && let Some(whole) = json.schema.take()
    {
        let list = ArrayBuilder::new()
            .items(Ref::from_schema_name("NewTask"))
            .max_items(Some(10_000));
        let either = OneOfBuilder::new().item(whole).item(list).build();
        json.schema = Some(RefOr::T(Schema::OneOf(either)));
    }
}

/// What is wrong with a request itself.
pub fn may_be_wrong(operation: &mut Operation) {
    let of = operation.parameters.iter().flatten();
    let asks = of.clone().any(
        |parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query),
    );
    let sends = operation.request_body.is_some();
    if asks || sends {
        answer(operation, "400", "It cannot be read");
        answer(operation, "422", "A field is wrong; `field` names it");
    }
    if sends {
        answer(operation, "408", "The body did not arrive in time");
        answer(operation, "413", "The body, or a payload in it, is too large");
    }
}

pub fn may_fail(operation: &mut Operation) {
    answer(
        operation,
        "default",
        "It could not be done; `error` says why and what to do",
    );
}

/// A page's own words for it.
pub fn may_fail_as_page(operation: &mut Operation) {
    let response = ResponseBuilder::new()
        .description("HTML that says what could not be done")
        .content("text/html", Content::new(Some(Object::with_type(Type::String))))
        .build();
    let answers = &mut operation.responses.responses;
    answers.entry("default".to_owned()).or_insert(RefOr::T(response));
}

pub fn answer(operation: &mut Operation, status: &str, description: &str) {
    let error = Content::new(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody"))));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", error)
        .build();
    let answers = &mut operation.responses.responses;
    answers.entry(status.to_owned()).or_insert(RefOr::T(response));
}
