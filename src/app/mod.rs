//! What the daemon can be asked, in the words of the domain; each interface only translates.

pub mod rate_limit;
