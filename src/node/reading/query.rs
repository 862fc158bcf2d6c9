//! The parameters of `GET /messages`, and the headers with which a browser asks for a stream.

use super::following::Wanted;
use super::format::Format;
use super::page::{Form, Page};
use crate::http::Exchange;
use crate::process::text::number;
use crate::protocol::{Consistency, Id};
use crate::wire::client::View;
use std::time::Duration;

/// The parameters of `GET /messages`.
const PARAMETERS: [&str; 6] = ["from", "limit", "view", "consistency", "wait", "follow"];
/// The longest time, in seconds, for which a reader may wait for a first message.
const WAIT_MAX_S: f64 = 60.0;
/// The value of `from` that means the end of the log.
const END: &str = "end";

pub(super) enum Query {
    /// What is there. If that is empty, what comes within `wait`.
    Page { page: Page, consistency: Consistency, wait: Duration },
    /// What is there, and then what comes.
    Follow(Wanted),
}

impl Query {
    /// # Errors
    /// With a sentence for the client.
    pub(super) fn parse(exchange: &Exchange, default_view: View) -> Result<Query, String> {
        if let Some(other) = exchange.query_names().find(|name| !PARAMETERS.contains(name)) {
            return Err(format!(
                "\"{}\" is not a parameter of /messages; there are from, limit, view, consistency, wait and follow",
                other.escape_debug()
            ));
        }
        let view = exchange.query("view").map_or(Ok(default_view), View::parse)?;
        let is_lines = accepts(exchange, "application/x-ndjson");
        let follows = match exchange.query("follow") {
            None => accepts(exchange, "text/event-stream"),
            Some("true" | "1" | "") => true,
            Some("false" | "0") => false,
            Some(other) => return Err(format!("follow is \"{}\"; it must be true or false", other.escape_debug())),
        };
        if follows {
            let format = if is_lines { Format::Lines(view) } else { Format::Events(view) };
            return Query::follow(exchange, format);
        }
        let form = if is_lines { Form::Lines } else { Form::Document };
        Ok(Query::Page {
            page: Page { from: from(exchange)?, limit: given(exchange, "limit")?, view, form },
            consistency: consistency(exchange)?,
            wait: wait(exchange)?,
        })
    }

    fn follow(exchange: &Exchange, format: Format) -> Result<Query, String> {
        if let Some(other) = ["limit", "consistency", "wait"].into_iter().find(|name| exchange.query(name).is_some()) {
            return Err(format!("{other} and follow do not go together: a follower gets every message as it comes"));
        }
        // A browser that reconnects repeats the parameters, and names its last id in this header.
        let after = match (exchange.header("Last-Event-ID"), exchange.query("from")) {
            (None | Some(""), Some(END)) => None,
            (None | Some(""), _) => Some(from(exchange)?.previous()),
            (Some(id), _) => match number(id) {
                Some(id) => Some(Id::new(id)),
                None => return Err(format!("Last-Event-ID is \"{}\"; it must be an id", id.escape_debug())),
            },
        };
        Ok(Query::Follow(Wanted { after, format }))
    }
}

/// The consistency that the reader asks for.
pub(super) fn consistency(exchange: &Exchange) -> Result<Consistency, String> {
    match exchange.query("consistency") {
        None => Ok(Consistency::Usual),
        Some("strong") => Ok(Consistency::Strong),
        Some("prefix") => Ok(Consistency::Prefix),
        Some(other) => Err(format!("consistency is \"{}\"; it must be \"strong\" or \"prefix\"", other.escape_debug())),
    }
}

/// Whether `Accept` names a media type.
fn accepts(exchange: &Exchange, media_type: &str) -> bool {
    let names = |range: &str| range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type));
    exchange.header("Accept").is_some_and(|accept| accept.split(',').any(names))
}

/// The first id that the reader asks for.
fn from(exchange: &Exchange) -> Result<Id, String> {
    Ok(Id::new(given(exchange, "from")?.unwrap_or(1).max(1)))
}

fn given(exchange: &Exchange, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = exchange.query(name) else { return Ok(None) };
    match number(text) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} is \"{}\"; it must be a whole number from 0 to {}", text.escape_debug(), u64::MAX)),
    }
}

fn wait(exchange: &Exchange) -> Result<Duration, String> {
    let Some(text) = exchange.query("wait") else { return Ok(Duration::ZERO) };
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=WAIT_MAX_S).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("wait is \"{}\"; it must be a number of seconds from 0 to {WAIT_MAX_S}", text.escape_debug())),
    }
}
