//! Signals that are asked at intervals.
//!
//! # Flow
//! A question is asked by one poller, for all policies that ask the same at the same pace ([`shared`]). Before each request
//! it asks, as each of their ServiceAccounts, whether that one may use the endpoint ([`poller`]); only those get the answer.
//! What an account knows, and until when, is a [`state`]. How an answer becomes values is in a file for each kind.
//!
//! # Guarantees
//! A value counts for `maxAge` from the moment its request was sent, or from the time of the data if the signal asks for it;
//! then it is Unknown, also while a request hangs. What is no plain answer is Unknown at once, with the reason; no answer at
//! all only when the last value is too old. Nothing of what an endpoint says is kept but numbers.

mod alertmanager;
mod http;
mod metrics;
mod poller;
mod prometheus;
mod question;
mod shared;
mod state;

#[cfg(test)]
mod tests;

pub use self::poller::Signals;
pub use self::question::PollKey;
pub use self::shared::{Asker, Polls, Reader};
