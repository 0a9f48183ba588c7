//! The receiver of alerts: Alertmanager sends its webhook to `POST /api/v1/namespaces/NS/policies/NAME/alerts`.
//!
//! # Flow
//! It has a listener of its own ([`connections`]), optionally with TLS ([`certificates`]). A request is refused as early as it
//! can be ([`desk`]): a wrong path, a replica that does not lead, a token that the API server does not know, an account without
//! the verb `create` on `alerts.firebreak.dev` with the name of the policy ([`reviews`]). Only then is its body read
//! ([`message`]) and handed to the controller as a [`Delivery`], which answers when the status of the policy has it.
//!
//! # Guarantees
//! 200 means that the API server has stored it. Any other answer may be followed by the same request, because alerts are known
//! by their fingerprint. Connections, bodies, reviews and deliveries are bounded, so that nobody can make the process grow;
//! whatever is beyond is answered with 503 and `Retry-After`. One address has only a few connections ([`peers`]), and only a few new
//! senders a second are reviewed ([`rate`]); known ones are remembered ([`memory`]).
//!
//! With a certificate that cannot be read, the listener is closed: a token is never taken without the TLS that was asked for.
//!
//! # Caveats
//! A replica that does not lead forwards nothing: it answers 503 and closes the connection, so that the next attempt may reach
//! the leader.

mod certificates;
mod connections;
mod delivery;
mod desk;
mod memory;
mod message;
mod peers;
mod rate;
mod refusal;
mod reviews;

pub use certificates::TlsPair;
pub use connections::Listening;
pub use delivery::{Answer, Deliveries, Delivery, channel};
pub use desk::Desk;
pub use refusal::RequestCounter;
