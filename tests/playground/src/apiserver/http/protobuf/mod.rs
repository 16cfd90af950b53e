//! Objects in protocol buffers, the form in which `kubectl create` and `kubectl drain` send built-in kinds.
//!
//! Only reading is needed: every client that sends this form accepts JSON in answer. The kinds are those that kubectl
//! itself creates; other kinds, and fields that the table does not know, are refused rather than lost.

mod messages;
mod wire;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use messages::{Field, Form};
use wire::{Payload, Reader};

/// What every message begins with.
const MAGIC: &[u8] = b"k8s\0";

type Messages = HashMap<&'static str, HashMap<u32, Field>>;

static MESSAGES: LazyLock<Messages> = LazyLock::new(messages::table);

/// Reads an object.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let body = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not begin as protocol buffers of Kubernetes do")?;
    let envelope = message("Unknown", body)?;
    let text = |path: &str| {
        envelope
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("/typeMeta/apiVersion"), text("/typeMeta/kind"));
    let raw = BASE64.decode(text("/raw")).map_err(|error| error.to_string())?;
    let name = match (api_version.as_str(), kind.as_str()) {
        ("autoscaling/v1", "HorizontalPodAutoscaler") => "HorizontalPodAutoscalerV1",
        (_, kind) => kind,
    };
    let mut object = message(name, &raw)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn message(name: &str, bytes: &[u8]) -> Result<Value, String> {
    let fields = MESSAGES
        .get(name)
        .ok_or_else(|| format!("{name} is not understood in this form; send JSON"))?;
    let mut object = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        let field = fields.get(&number);
        let field =
            field.ok_or_else(|| format!("field {number} of {name} is not understood in this form; send JSON"))?;
        add(&mut object, field, payload)?;
    }
    Ok(Value::Object(object))
}

/// Adds a field; a list or a map comes one item at a time.
fn add(object: &mut Map<String, Value>, field: &Field, payload: Payload<'_>) -> Result<(), String> {
    match &field.form {
        Form::List(item) => {
            let value = value(item, payload)?;
            let slot = object.entry(field.name).or_insert_with(|| json!([]));
            if let Value::Array(items) = slot {
                items.push(value);
            }
        }
        Form::Map(item) => {
            let (key, value) = entry(item, payload)?;
            let slot = object.entry(field.name).or_insert_with(|| json!({}));
            slot[key] = value;
        }
        Form::Optional(item) => {
            object.insert(field.name.into(), value(item, payload)?);
        }
        form => {
            let value = value(form, payload)?;
            // Fields that are no pointers are sent even when they are empty, which in JSON is to be left out.
            if !is_empty(&value) {
                object.insert(field.name.into(), value);
            }
        }
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A map is a list of messages of key and value.
fn entry(item: &Form, payload: Payload<'_>) -> Result<(String, Value), String> {
    let (mut key, mut found) = (String::new(), Value::Null);
    let mut reader = Reader::new(payload.bytes()?);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => key = payload.text()?.to_owned(),
            _ => found = value(item, payload)?,
        }
    }
    if found.is_null() {
        found = "".into();
    }
    Ok((key, found))
}

fn value(form: &Form, payload: Payload<'_>) -> Result<Value, String> {
    match form {
        Form::Text => Ok(payload.text()?.into()),
        Form::Integer => Ok(payload.integer()?.into()),
        Form::Flag => Ok((payload.integer()? != 0).into()),
        Form::Bytes => Ok(BASE64.encode(payload.bytes()?).into()),
        Form::Quantity => Ok(single(payload.bytes()?, 1)?
            .map_or(Ok(""), |payload| payload.text())?
            .into()),
        Form::Time => time(payload.bytes()?),
        Form::IntegerOrText => integer_or_text(payload.bytes()?),
        Form::Message(name) => message(name, payload.bytes()?),
        Form::Optional(item) => value(item, payload),
        Form::List(_) | Form::Map(_) => Err("a list within a list".into()),
    }
}

/// One field of a small message.
fn single(bytes: &[u8], wanted: u32) -> Result<Option<Payload<'_>>, String> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Some((number, payload)) = reader.next()? {
        if number == wanted {
            found = Some(payload);
        }
    }
    Ok(found)
}

fn time(bytes: &[u8]) -> Result<Value, String> {
    let Some(payload) = single(bytes, 1)? else {
        return Ok(Value::Null);
    };
    let at = jiff::Timestamp::from_second(payload.integer()?).map_err(|error| error.to_string())?;
    Ok(crate::apiserver::object::timestamp(at).into())
}

fn integer_or_text(bytes: &[u8]) -> Result<Value, String> {
    let kind = single(bytes, 1)?.map_or(Ok(0), |payload| payload.integer())?;
    match kind {
        0 => Ok(single(bytes, 2)?.map_or(Ok(0), |payload| payload.integer())?.into()),
        _ => Ok(single(bytes, 3)?.map_or(Ok(""), |payload| payload.text())?.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        field.extend(bytes);
        field
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let kinds = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &kinds), field(2, raw)].concat()
    }

    #[test]
    fn a_namespace_is_read() {
        let label = [field(1, b"a"), field(2, b"b")].concat();
        let metadata = [field(1, b"shop"), field(2, b""), field(11, &label)].concat();
        let body = envelope("v1", "Namespace", &field(1, &metadata));
        let expected = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": { "a": "b" } },
        });
        assert_eq!(read(&body).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(read(b"{}").is_err());
        assert!(read(&envelope("v1", "Gadget", b"")).unwrap_err().contains("Gadget"));
        assert!(
            read(&envelope("v1", "Namespace", &field(9, b"x")))
                .unwrap_err()
                .contains("field 9 of Namespace")
        );
        assert!(read(&envelope("v1", "Namespace", &[10, 200])).is_err(), "cut short");
    }
}
