//! A body of `POST /messages`, read as every content type that the node accepts, and compared with its meaning as JSON.

use replicated_log::wire::address::NodeUrl;
use replicated_log::wire::batch::MESSAGES_MAX;
use replicated_log::wire::client::{Copies, Dialect, Posted, Registration, WriteOptions, parse_timeout};
use replicated_log::wire::fault::Fault;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// Reads the bytes.
pub fn check(bytes: &[u8]) {
    check_json(bytes);
    check_lines(bytes);
    check_text(bytes);
    check_raw(bytes);
    check_form(bytes);
    check_beside(bytes);
}

/// What was read. A refusal must have a text.
fn accepted<T>(read: Result<T, String>) -> Option<T> {
    read.map_err(|why| assert!(!why.is_empty())).ok()
}

/// Raw messages are the values of the body, each as it is written there.
fn check_raw(bytes: &[u8]) {
    // JSON has numbers that a `Value` cannot hold.
    let value = serde_json::from_slice(bytes).ok();
    if let (Some(posted), Some(value)) = (accepted(Posted::from_raw_json(bytes)), value) {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        assert_eq!(posted.messages.len(), values.len().min(MESSAGES_MAX + 1));
        for (message, value) in posted.messages.iter().zip(values) {
            assert_eq!(serde_json::from_str::<Value>(message).expect("each is JSON"), value);
        }
    }
    let lines = accepted(Posted::from_raw_lines(bytes)).map_or_else(Vec::new, |posted| posted.messages);
    for line in lines {
        assert!(!line.is_empty() && !line.contains('\n') && *line == *line.trim_ascii(), "{line}");
    }
}

/// A form has one message, and a body in JSON means what it does without being called a form.
fn check_form(bytes: &[u8]) {
    let posted = accepted(Posted::from_form(bytes));
    match bytes.trim_ascii_start() {
        [] | [b'{' | b'[' | b'"', ..] => assert_eq!(posted, Posted::from_json(bytes).ok()),
        _ => assert!(posted.is_none_or(|posted| posted.messages.len() == 1 && posted.dialect == Dialect::Message)),
    }
}

fn texts(posted: &Posted) -> Vec<&str> {
    posted.messages.iter().map(|message| &**message).collect()
}

fn check_json(bytes: &[u8]) {
    let value: Result<Value, _> = serde_json::from_slice(bytes);
    let posted = accepted(Posted::from_json(bytes));
    if posted.as_ref().is_some_and(|posted| posted.messages.len() > MESSAGES_MAX) {
        return;
    }
    let Ok(value) = value else { return assert_eq!(posted, None, "what is not JSON was accepted") };
    if let Some(posted) = &posted {
        match &value {
            Value::Object(fields) => check_one(posted, fields),
            Value::Array(list) => check_batch(posted, list),
            other => panic!("{other} was accepted as {posted:?}"),
        }
    }
    // Written anew, a value has no duplicate members. So it must be accepted whenever it is a message.
    let written = serde_json::to_vec(&value).expect("a value can be written");
    let again = Posted::from_json(&written).ok();
    match &posted {
        Some(_) => assert_eq!(again, posted, "{value} was read in two ways"),
        None => assert!(again.is_none() || is_ambiguous(bytes), "{value} was refused at first: {again:?}"),
    }
    if is_plain(&value) {
        assert!(again.is_some(), "{value} was refused");
    }
}

/// Whether a member of an object may occur twice: its name does.
fn is_ambiguous(bytes: &[u8]) -> bool {
    let quotes = bytes.iter().filter(|&&byte| byte == b'"').count();
    quotes > 4
}

/// Whether the value is nothing but messages.
fn is_plain(value: &Value) -> bool {
    let is_message = |value: &Value| match value {
        Value::Object(fields) => fields.len() == 1 && message_of(fields).is_some(),
        other => other.is_string(),
    };
    match value {
        Value::Array(list) => list.iter().all(is_message),
        other => other.is_object() && is_message(other),
    }
}

fn message_of(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("message").xor(fields.get("msg")).and_then(Value::as_str)
}

fn check_one(posted: &Posted, fields: &Map<String, Value>) {
    assert_eq!(texts(posted), [message_of(fields).expect("what was accepted has a message")]);
    let dialect = if fields.contains_key("msg") { Dialect::Msg } else { Dialect::Message };
    assert_eq!(posted.dialect, dialect);
    let known = ["message", "msg", "w", "write_concern", "timeout"];
    assert!(fields.keys().all(|name| known.contains(&name.as_str())), "{fields:?}");
    let wanted = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    assert_eq!(posted.options.copies.is_some(), wanted("w") || wanted("write_concern"), "{fields:?}");
    assert_eq!(posted.options.timeout.is_some(), wanted("timeout"), "{fields:?}");
    check_options(posted.options);
    check_dialects(posted);
}

fn check_options(options: WriteOptions) {
    assert_ne!(options.copies, Some(Copies::Number(0)));
    assert!(options.timeout.is_none_or(|timeout| timeout <= TIMEOUT_MAX), "{options:?}");
    assert_eq!(options.and(WriteOptions::default()).as_ref(), Ok(&options));
    let has_any = options != WriteOptions::default();
    assert_eq!(options.and(options).is_err(), has_any, "said twice: {options:?}");
}

/// Checks that the same text means the same in every dialect.
fn check_dialects(posted: &Posted) {
    let text = &*posted.messages[0];
    let read = |value: Value| Posted::from_json(value.to_string().as_bytes());
    let bodies = [json!({ "message": text }), json!({ "msg": text }), json!([text]), json!([{ "msg": text }])];
    let dialects = [Dialect::Message, Dialect::Msg, Dialect::Batch, Dialect::Batch];
    for (body, dialect) in bodies.into_iter().zip(dialects) {
        let again = read(body).expect("the text alone is a message");
        assert_eq!((again.dialect, again.messages), (dialect, posted.messages.clone()));
    }
    assert_eq!(Posted::from_text(text.as_bytes()).unwrap().messages, posted.messages);
}

/// Checks that a batch keeps its messages, their number and their order.
fn check_batch(posted: &Posted, list: &[Value]) {
    let message = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.len() == 1 => message_of(fields).expect("a message").to_owned(),
        other => panic!("{other} was accepted as a message"),
    };
    assert_eq!(texts(posted), list.iter().map(message).collect::<Vec<_>>());
    assert_eq!((posted.dialect, posted.options), (Dialect::Batch, WriteOptions::default()));
}

/// Checks that lines mean the same as a list without its brackets.
fn check_lines(bytes: &[u8]) {
    let filled = bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let list = [b"[", &*filled.clone().collect::<Vec<_>>().join(&b',')][..].concat();
    let list = [&*list, b"]"].concat();
    let from_lines = accepted(Posted::from_lines(bytes));
    let from_list = Posted::from_json(&list).ok();
    match from_lines {
        Some(posted) if posted.messages.len() <= MESSAGES_MAX => {
            assert_eq!(posted.messages.len(), filled.count(), "each line is a message");
            assert_eq!(Some(posted), from_list);
        }
        Some(_) => {}
        // A text may hold a comma, but not the end of a line: then the list has other parts than the lines.
        None => assert!(from_list.is_none_or(|list| list.messages.len() != filled.count()) || has_comma(bytes)),
    }
}

fn has_comma(bytes: &[u8]) -> bool {
    bytes.contains(&b',')
}

fn check_text(bytes: &[u8]) {
    let posted = accepted(Posted::from_text(bytes));
    assert_eq!(posted.is_some(), std::str::from_utf8(bytes).is_ok());
    let Some(posted) = posted else { return };
    assert_eq!(posted.messages, [Arc::from(String::from_utf8_lossy(bytes))]);
    check_dialects(&posted);
}

/// Checks the other bodies and headers that clients send.
fn check_beside(bytes: &[u8]) {
    accepted(Registration::from_json(bytes));
    accepted(Fault::from_json(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let copies = accepted(Copies::parse(text));
    check_options(WriteOptions { copies, timeout: accepted(parse_timeout(text)) });
    if let Some(url) = accepted(NodeUrl::parse(text)) {
        assert_eq!(NodeUrl::parse(&url.to_string()), Ok(url), "an address means the same when it is read again");
    }
}
