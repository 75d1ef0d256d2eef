//! Messages that are longer than their service takes: cut, and still well-formed.

use super::escape::Escape;

/// What stands for the rest.
const ELLIPSIS: char = '…';

/// Cuts a message to `chars` characters and `bytes` bytes. Tags that are closed again behind it do
/// not count, as Telegram does not count them.
pub fn cut(message: &mut String, chars: usize, bytes: usize, escape: Escape) {
    let fits = message.len() <= bytes && message.chars().nth(chars).is_none();
    if fits {
        return;
    }
    let most = bytes.saturating_sub(ELLIPSIS.len_utf8());
    let ends = message.char_indices().map(|(at, c)| at + c.len_utf8());
    let kept = ends.take(chars.saturating_sub(1));
    let end = kept.take_while(|end| *end <= most).last().unwrap_or(0);
    message.truncate(end);
    match escape {
        Escape::None | Escape::Brackets => message.push(ELLIPSIS),
        Escape::Markdown => {
            let slashes = message.bytes().rev().take_while(|b| *b == b'\\').count();
            if slashes % 2 == 1 {
                message.pop();
            }
            message.push(ELLIPSIS);
        }
        Escape::Entities => {
            drop_half(message);
            message.push(ELLIPSIS);
        }
        Escape::Html => {
            drop_half(message);
            let closing = closing(message);
            message.push(ELLIPSIS);
            message.push_str(&closing);
        }
    }
}

/// The longest entity is `&quot;` or a number such as `&#128512;`, in bytes.
const MAX_ENTITY: usize = 10;

/// Drops half a tag or entity from the end. A `<` or `&` of the endpoint's own text that begins
/// neither stays.
fn drop_half(message: &mut String) {
    let is_tag = |rest: &str| !rest.contains('>') && begins_tag(rest);
    let is_entity = |rest: &str| {
        rest.len() < MAX_ENTITY
            && rest
                .bytes()
                .skip(1)
                .all(|b| b.is_ascii_alphanumeric() || b == b'#')
    };
    for (begins, is_half) in [('<', &is_tag as &dyn Fn(&str) -> bool), ('&', &is_entity)] {
        if let Some((begin, _)) = message
            .rmatch_indices(begins)
            .next()
            .filter(|(begin, _)| message.get(*begin..).is_some_and(is_half))
        {
            message.truncate(begin);
        }
    }
}

/// Whether `<` and what follows may open a tag, or a link or mention of Slack.
fn begins_tag(rest: &str) -> bool {
    let next = rest.chars().nth(1);
    next.is_none_or(|next| next.is_ascii_alphabetic() || "/!@#".contains(next))
}

/// The tags that close what is open.
fn closing(html: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let Some((tag, _)) = tag.split_once('>') else {
            continue;
        };
        match tag.strip_prefix('/') {
            Some(_) => drop(open.pop()),
            None => open.extend(tag.split_ascii_whitespace().next()),
        }
    }
    open.iter().rev().map(|name| format!("</{name}>")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_to(chars: usize, escape: Escape, text: &str) -> String {
        let mut message = text.to_owned();
        cut(&mut message, chars, 1000, escape);
        message
    }

    #[test]
    fn what_fits_stays() {
        assert_eq!(cut_to(4, Escape::Html, "<b>é"), "<b>é");
        assert_eq!(cut_to(3, Escape::None, "abcd"), "ab…");
    }

    #[test]
    fn bytes_count_too() {
        for (bytes, expected) in [(6, "éé…"), (7, "éé…"), (8, "éééé"), (3, "…")] {
            let mut message = "éééé".to_owned();
            cut(&mut message, 100, bytes, Escape::None);
            let expected = if bytes == 6 { "é…" } else { expected };
            assert_eq!(message, expected, "{bytes}");
        }
    }

    #[test]
    fn signs_of_the_own_text_do_not_cut_it_short() {
        let long = "x".repeat(50);
        for escape in [Escape::Entities, Escape::Html] {
            for start in ["R&D: ", "a < b: ", "a & b, c < 1: "] {
                let cut = cut_to(40, escape, &format!("{start}{long}"));
                assert_eq!(cut.chars().count(), 40, "{cut}");
                assert!(cut.starts_with(start), "{cut}");
            }
        }
    }

    #[test]
    fn nothing_is_left_half() {
        assert_eq!(cut_to(5, Escape::Entities, "a&amp;b"), "a…");
        assert_eq!(cut_to(7, Escape::Entities, "a&amp;bc"), "a&amp;…");
        assert_eq!(cut_to(4, Escape::Markdown, "ab\\*c"), "ab…");
        assert_eq!(cut_to(5, Escape::Markdown, "ab\\\\cd"), "ab\\\\…");
        let html = "<a href=\"x\"><b>long</b> <i>text</i></a>";
        assert_eq!(
            cut_to(17, Escape::Html, html),
            "<a href=\"x\"><b>l…</b></a>"
        );
        assert_eq!(cut_to(14, Escape::Html, html), "<a href=\"x\">…</a>");
    }
}
