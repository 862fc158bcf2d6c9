//! Faults that nodes make themselves on request (`PUT /faults`).

use super::fault::{ActiveFault, FaultSource};
use crate::api::Address;
use crate::api::Client;
use crate::random::Random;
use serde_json::{Value, json};

/// Asks nodes that were started with `ENABLE_FAULTS=1`.
pub(crate) struct Requests {
    pub(crate) client: Client,
    /// Name and address, the master first.
    pub(crate) nodes: Vec<(String, Address)>,
}

impl Requests {
    /// Checks that every node accepts such requests. The error says which one does not.
    pub(crate) fn are_enabled(&self) -> Result<(), String> {
        for (name, address) in &self.nodes {
            match self.client.faults(address) {
                Ok(reply) if reply.value.enabled => {}
                Ok(_) => return Err(format!("{name} was not started with ENABLE_FAULTS=1")),
                Err(failure) => return Err(format!("{name} cannot be asked for faults: {failure}")),
            }
        }
        Ok(())
    }
}

impl FaultSource for Requests {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let node = random.one_of(idle);
        let (name, address) = self.nodes[node].clone();
        let tenths = 2 + random.below(14);
        let mut fault = choose(random, tenths);
        let what = format!("{name} was asked for {fault}");
        // It ends by itself if it is not ended, so that no node keeps it if this program dies.
        fault["for"] = json!(tenths as f64 / 10.0 + 30.0);
        self.client.set_fault(&address, &fault).map_err(|failure| failure.to_string())?;
        let client = self.client.clone();
        let undo = Box::new(move || {
            let hits = client.faults(&address).map(|reply| reply.value.hits).ok();
            // If the request fails, the fault ends by itself soon, and before the cluster has to be back.
            let _ = client.end_fault(&address);
            Ok(hits)
        });
        Ok(ActiveFault { what, nodes: vec![node], lasts: std::time::Duration::from_millis(tenths * 100), undo })
    }
}

fn choose(random: &mut Random, tenths: u64) -> Value {
    let part = tenths as f64 / 30.0;
    let calls = 1 + random.below(3);
    match random.below(7) {
        0 => json!({ "hold": part, "calls": calls }),
        1 => json!({ "delay": part }),
        2 => json!({ "fail": "before", "calls": calls }),
        3 => json!({ "fail": "after", "calls": calls }),
        4 => json!({ "cut": "in" }),
        5 => json!({ "cut": "out" }),
        _ => json!({ "cut": "both" }),
    }
}
