//! The parameters of `GET /messages`, and the headers with which a browser asks for a stream.

use super::following::{After, Wanted};
use super::format::Format;
use super::page::{Form, Page};
use crate::http::Exchange;
use crate::process::text::{number, switch};
use crate::protocol::Consistency;
use crate::wire::client::{View, seconds};
use crate::wire::position::Position;
use std::time::Duration;

/// The parameters of `GET /messages`.
const PARAMETERS: [&str; 7] = ["from", "limit", "view", "consistency", "wait", "follow", "lastEventId"];
/// The media types of `/messages`, the one that others are measured by first.
const OFFERS: [&str; 3] = [DOCUMENT, LINES, EVENTS];
const DOCUMENT: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
/// The longest time, in seconds, for which a reader may wait for a first message.
const WAIT_MAX_S: f64 = 60.0;
/// The values of `from` that mean the end of the log, for followers, and its beginning, which is the default.
const END: &str = "end";
const OLDEST: &str = "oldest";

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
                "\"{}\" is not a parameter of /messages; there are from, limit, view, consistency, wait, follow and \
                 lastEventId",
                other.escape_debug()
            ));
        }
        let view = exchange.query("view").map_or(Ok(default_view), |name| View::parse(&name))?;
        let preferred = preferred(exchange);
        let is_lines = preferred == LINES;
        let follows = match exchange.query("follow") {
            None => preferred == EVENTS,
            Some(text) => switch("follow", &text)?,
        };
        if follows {
            let format = if is_lines { Format::Lines(view) } else { Format::Events(view) };
            return Query::follow(exchange, format);
        }
        let form = if is_lines { Form::Lines } else { Form::Document };
        Ok(Query::Page {
            page: Page { after: from(exchange)?, limit: given(exchange, "limit")?, view, form },
            consistency: consistency(exchange)?,
            wait: wait(exchange)?,
        })
    }

    fn follow(exchange: &Exchange, format: Format) -> Result<Query, String> {
        if let Some(other) = ["limit", "consistency", "wait"].into_iter().find(|name| exchange.query(name).is_some()) {
            return Err(format!("{other} and follow do not go together: a follower gets every message as it comes"));
        }
        // A browser that reconnects repeats the parameters, and names its last position in this header; one that cannot
        // set headers sends a parameter.
        let reached = exchange.header("Last-Event-ID").map(str::to_owned).or_else(|| exchange.query("lastEventId"));
        let after = match (reached.filter(|reached| !reached.is_empty()), exchange.query("from").as_deref()) {
            (None, Some(END)) => After::Newest,
            (None, _) => from(exchange)?.map_or(After::Nothing, After::Position),
            (Some(reached), _) => After::Position(position("Last-Event-ID", &reached)?),
        };
        Ok(Query::Follow(Wanted { after, format }))
    }
}

/// The consistency that the reader asks for.
pub(super) fn consistency(exchange: &Exchange) -> Result<Consistency, String> {
    match exchange.query("consistency").as_deref() {
        None => Ok(Consistency::Usual),
        Some("strong") => Ok(Consistency::Strong),
        Some("prefix") => Ok(Consistency::Prefix),
        Some(other) => Err(format!("consistency is \"{}\"; it must be \"strong\" or \"prefix\"", other.escape_debug())),
    }
}

/// The media type that the client likes best (RFC 9110, section 12.5.1), of those that `/messages` has. Between two that
/// it likes as much, one that it names wins over one that it only includes; then the earlier one of [`OFFERS`], so that
/// a client that would take a reply with an end gets no other.
fn preferred(exchange: &Exchange) -> &'static str {
    let ranges: Vec<(String, u32)> =
        exchange.header_lines("Accept").flat_map(|line| line.split(',')).filter_map(media_range).collect();
    let likes = |offer: &'static str| {
        let of = |name: &str| ranges.iter().find(|(range, _)| range == name).map(|(_, quality)| *quality);
        let (family, _) = offer.split_once('/').unwrap_or_default();
        let named = of(offer);
        let quality = named.or_else(|| of(&format!("{family}/*"))).or_else(|| of("*/*")).unwrap_or_default();
        (quality, named.is_some())
    };
    // Of equal ones this gives the last.
    let best = OFFERS.into_iter().rev().max_by_key(|offer| likes(offer)).unwrap_or(DOCUMENT);
    if likes(best).0 == 0 { DOCUMENT } else { best }
}

/// A media range in small letters, and its quality in thousandths.
fn media_range(text: &str) -> Option<(String, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next()?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let thousandths = quality.map_or(Some(1.0), seconds).map(|quality| (quality.min(1.0) * 1_000.0) as u32)?;
    Some((range, thousandths))
}

/// The position that the reader has reached: that before the first message that it asks for. `None` if it asks for the log
/// from its beginning.
fn from(exchange: &Exchange) -> Result<Option<Position>, String> {
    let Some(text) = exchange.query("from").filter(|text| text != OLDEST) else { return Ok(None) };
    let Position { id, of } = position("from", &text)?;
    Ok(Some(Position { id: id.previous(), of }))
}

fn position(name: &str, text: &str) -> Result<Position, String> {
    Position::parse(text).ok_or_else(|| {
        format!(
            "{name} is \"{}\"; it must be a position that a node gave, oldest, or an id: a whole number from 0 to {}",
            text.escape_debug(),
            u64::MAX
        )
    })
}

fn given(exchange: &Exchange, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = exchange.query(name) else { return Ok(None) };
    match number(&text) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} is \"{}\"; it must be a whole number from 0 to {}", text.escape_debug(), u64::MAX)),
    }
}

fn wait(exchange: &Exchange) -> Result<Duration, String> {
    let Some(text) = exchange.query("wait") else { return Ok(Duration::ZERO) };
    match seconds(&text) {
        Some(seconds) if seconds <= WAIT_MAX_S => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("wait is \"{}\"; it must be a number of seconds from 0 to {WAIT_MAX_S}", text.escape_debug())),
    }
}
