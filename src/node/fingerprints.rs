//! `GET /fingerprint`: the fingerprint of a part of the log.

use crate::http::{Exchange, Reply};
use crate::process::text::number;
use crate::protocol::{Fingerprint, Id};
use crate::store::{Store, StoreError, Trouble, base_at, walk};
use crate::wire::node::FingerprintBody;

/// Answers for the ids after `after` up to `through`. By default these are 0 and the high watermark: that is the
/// fingerprint of the whole log, of which a part may be trimmed.
pub(crate) fn answer(exchange: &Exchange, store: &dyn Store, decided: Id) -> Reply {
    let (after, through) = match (id(exchange, "after", Id::ZERO), id(exchange, "through", decided)) {
        (Ok(after), Ok(through)) => (after, through),
        (Err(why), _) | (_, Err(why)) => return Reply::no_answer(400, &why),
    };
    if through > decided || after > through {
        return Reply::no_answer(
            409,
            &format!(
                "there is no fingerprint of the ids after {after} up to {through}; ids up to {decided} are decided"
            ),
        );
    }
    if let Some(Trouble::Failed(why)) = store.trouble() {
        return Reply::no_answer(503, &format!("the store of this node has failed: {why}"));
    }
    match (store.identity(), fingerprint(store, after, through)) {
        (Ok(Some(identity)), Ok(fingerprint)) => {
            Reply::json(200, &FingerprintBody::new(identity.lineage.log_id, after, through, fingerprint))
        }
        (Ok(None), _) => Reply::not_found("this node holds no log yet"),
        (_, Err(error)) if error.is_trimmed() => Reply::no_answer(410, &error.to_string()),
        (Err(error), _) | (_, Err(error)) => Reply::no_answer(500, &error.to_string()),
    }
}

fn id(exchange: &Exchange, name: &str, default: Id) -> Result<Id, String> {
    exchange.query(name).map_or(Ok(default), |text| {
        number(&text).map(Id::new).ok_or_else(|| format!("{name} is \"{}\"; it must be an id", text.escape_debug()))
    })
}

fn fingerprint(store: &dyn Store, after: Id, through: Id) -> Result<Fingerprint, StoreError> {
    if after == Id::ZERO && through >= store.base().id {
        return Ok(base_at(store, through)?.fingerprint);
    }
    let mut fingerprint = Fingerprint::default();
    walk(store, after, through, |slot| {
        fingerprint.extend(&slot);
        Ok::<(), StoreError>(())
    })?;
    Ok(fingerprint)
}
