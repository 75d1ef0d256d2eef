//! Errors of the system that are the daemon's own fault and say nothing about an endpoint.

use std::io;

use rustix::io::Errno;

/// Whether the system refused because of this process or machine: no descriptor, memory or
/// local port is left. Nothing that the other side does can cause this.
pub(super) fn is_our_own(error: &io::Error) -> bool {
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    let code = error.raw_os_error();
    own.iter().any(|errno| Some(errno.raw_os_error()) == code)
}
