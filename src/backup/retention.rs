//! What of a generation may go: pure.
//!
//! Segments that the log has dropped are kept for `retain`, so that a restore can go back to a time
//! when they counted. Time is the store's alone: a mark says since when the log begins where it
//! does, and the newest object says what time it is there at least. So a clock that is wrong on
//! this machine deletes nothing too early.

use std::time::Duration;

use super::names::Name;
use super::place::Listed;

const EVERY_MIN: Duration = Duration::from_secs(60);
const EVERY_MAX: Duration = Duration::from_secs(3600);

/// How often to look.
pub fn every(retain: Duration) -> Duration {
    (retain / 20).clamp(EVERY_MIN, EVERY_MAX)
}

/// The objects that may go, those that nothing depends on first.
pub fn past(objects: &[Listed], retain: Duration) -> Vec<Name> {
    let Some(now) = objects.iter().map(|object| object.modified).max() else {
        return Vec::new();
    };
    let starts = objects.iter().filter_map(|object| match object.name {
        Name::Start(start) => Some((start, object.modified)),
        _ => None,
    });
    let old = starts.filter(|(_, since)| now.since(*since) > retain);
    let Some(start) = old.map(|(start, _)| start).max() else {
        return Vec::new();
    };
    let (mut parts, mut marks) = (Vec::new(), Vec::new());
    for object in objects {
        match object.name {
            Name::Part(part) if part.base < start => parts.push(object.name),
            Name::Start(before) if before < start => marks.push(object.name),
            _ => {}
        }
    }
    parts.append(&mut marks);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::names::Part;
    use crate::domain::time::Timestamp;

    fn at(name: Name, minute: u64) -> Listed {
        let modified = Timestamp::from_millis(minute * 60_000);
        let size = 1;
        Listed {
            name,
            size,
            modified,
        }
    }

    fn part(base: u64) -> Name {
        Name::Part(Part {
            base,
            from: 0,
            to: 64,
            erasures: 0,
            is_last: true,
        })
    }

    #[test]
    fn what_was_dropped_long_ago_goes_and_nothing_else() {
        let objects = [
            at(Name::About, 0),
            at(part(0), 1),
            at(part(100), 2),
            at(part(200), 3),
            at(Name::Start(0), 1),
            at(Name::Start(100), 10),
            at(Name::Start(200), 60),
            at(part(300), 100),
        ];
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!(past(&objects, minutes(1000)), []);
        assert_eq!(past(&objects, minutes(91)), [] as [Name; 0]);
        assert_eq!(past(&objects, minutes(80)), [part(0), Name::Start(0)]);
        let most = [part(0), part(100), Name::Start(0), Name::Start(100)];
        assert_eq!(past(&objects, minutes(0)), most);
        assert_eq!(past(&[], minutes(0)), []);
    }

    #[test]
    fn looks_are_neither_rare_nor_many() {
        assert_eq!(every(Duration::from_secs(60)), EVERY_MIN);
        assert_eq!(every(Duration::from_secs(7 * 86_400)), EVERY_MAX);
    }
}
