//! From a request that came in to what answers it.

use super::acceptor::{Acceptor, Handler};
use super::admission::{self, Framing};
use super::exchange::{Exchange, Method};
use super::reply::Reply;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What answers requests.
pub(crate) trait Service: Send + Sync {
    /// Answers one request, now or later, on this thread or another.
    fn call(&self, exchange: Exchange);

    /// Whether `call` never blocks for this request: then it runs while no other thread receives.
    fn is_prompt(&self, exchange: &Exchange) -> bool;
}

/// Examines requests, and lets a service answer those that are let in.
pub(super) struct Examiner {
    pub(super) service: Arc<dyn Service>,
}

impl Handler for Examiner {
    fn handle(&self, acceptor: &Arc<Acceptor>, request: tiny_http::Request) {
        let edge = &acceptor.edge;
        let exchange = match admission::examine(&request, &edge.limits) {
            Ok(framing) => Exchange::new(request, framing, Arc::clone(acceptor)),
            Err(rejection) => {
                return Exchange::new(request, Framing::Ambiguous, Arc::clone(acceptor)).reply(rejection);
            }
        };
        let body_is_here = exchange.body_is_here();
        if body_is_here && self.service.is_prompt(&exchange) {
            return serve(&self.service, exchange);
        }
        if acceptor.hand_over() {
            return serve_after_body(&self.service, exchange);
        }
        if body_is_here {
            return exchange.reply(Reply::overloaded(&format!(
                "this node is answering {} other requests, as many as MAX_THREADS allows; try again in a second",
                edge.limits.threads_max
            )));
        }
        let service = Arc::clone(&self.service);
        edge.pool.submit(Box::new(move || serve_after_body(&service, exchange)));
    }

    fn refuse(&self, acceptor: &Arc<Acceptor>, request: tiny_http::Request) {
        let reply =
            Reply::overloaded("this node has just ended a connection from your address and port; connect again");
        Exchange::new(request, Framing::Ambiguous, Arc::clone(acceptor)).reply(reply);
    }
}

/// Reads rarely have a body. It is skipped first, because a long reply may follow.
fn serve_after_body(service: &Arc<dyn Service>, mut exchange: Exchange) {
    if exchange.method() == Method::Get
        && let Err(refusal) = exchange.skip_body()
    {
        return exchange.reply(refusal);
    }
    serve(service, exchange);
}

/// Runs the service. If it panics, the exchange is dropped on the way out, which answers 500.
fn serve(service: &Arc<dyn Service>, exchange: Exchange) {
    if catch_unwind(AssertUnwindSafe(|| service.call(exchange))).is_err() {
        log::error!("a request made this node panic; it was answered with 500, and the node goes on");
    }
}
