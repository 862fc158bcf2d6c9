//! The examples in the documents: commands, and what they print there.

#![allow(dead_code, reason = "each test file uses its part of this")]

use serde_json::{Value, json};
use std::fs;

/// A command of a page, and the lines that it prints there.
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) printed: Vec<String>,
}

/// The examples of a page of this repository, those of one block together.
pub(crate) fn blocks(page: &str) -> Vec<Vec<Example>> {
    let text = page_text(page);
    let fenced = text.split("```console\n").skip(1).map(|block| block.split("```").next().unwrap());
    fenced
        .map(|block| {
            let mut examples: Vec<Example> = Vec::new();
            for line in block.lines() {
                let continues = examples.last().is_some_and(|example| example.command.ends_with(" \\"));
                match (line.strip_prefix("$ "), examples.last_mut()) {
                    (Some(command), _) => examples.push(Example { command: command.to_owned(), printed: Vec::new() }),
                    (None, Some(example)) if continues => {
                        example.command.truncate(example.command.len() - 1);
                        example.command.push_str(line.trim_start());
                    }
                    (None, Some(example)) if !line.is_empty() => example.printed.push(line.to_owned()),
                    _ => {}
                }
            }
            examples
        })
        .collect()
}

fn page_text(page: &str) -> String {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let found =
        [here.to_owned() + page, format!("{here}../{page}")].into_iter().find_map(|path| fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("no {page} in {here}"))
}

/// The form of JSON: names and types, without the values.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), form(value))).collect(),
        Value::Array(items) => items.first().map_or(json!([]), |item| json!([form(item)])),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

/// What of a line does not change from run to run.
pub(crate) fn lasting(line: &str) -> Value {
    serde_json::from_str(line).map_or_else(|_| json!(without_figures(line)), |value| form(&value))
}

/// Whether lines have the form that is shown. Either list of acknowledgements may be empty: who has acknowledged a write for
/// few copies when it is answered depends on which disk was faster.
pub(crate) fn agree(shown: &[Value], really: &[Value]) -> bool {
    shown.len() == really.len() && shown.iter().zip(really).all(|(shown, really)| have_one_form(shown, really))
}

fn have_one_form(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => agree(one, other),
        (Value::Object(one), Value::Object(other)) => {
            let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
            let is_in_both = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| {
                    have_one_form(value, other) || (name == "acks" && (is_empty(value) || is_empty(other)))
                })
            };
            one.len() == other.len() && one.iter().all(is_in_both)
        }
        (one, other) => one == other,
    }
}

/// A line without the values of its numbers, the units of times, and the lengths of bars.
fn without_figures(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_unit = ["s", "ms", "µs", "s,", "ms,", "µs,"].contains(&word);
        match words.last() {
            Some(&"N") if is_unit => {}
            _ if word.contains(|c: char| c.is_ascii_digit()) => words.push("N"),
            _ if word.chars().all(|c| ('\u{2580}'..='\u{259f}').contains(&c)) => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}
