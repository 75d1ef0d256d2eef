//! What a visitor may see of a thing, and where its pages are.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The path of the pages, without a slash at its end.
    pub base: &'static str,
    /// Tenants are named.
    pub tenants: bool,
    /// The addresses that were dialled.
    pub addresses: bool,
    /// What receivers answered.
    pub responses: bool,
}

impl Sight {
    /// Everything.
    pub const fn whole(base: &'static str) -> Sight {
        Sight {
            base,
            tenants: true,
            addresses: true,
            responses: true,
        }
    }
}
