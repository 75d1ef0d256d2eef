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

/// Drops half a tag or entity from the end.
fn drop_half(message: &mut String) {
    for (begins, ends) in [('<', '>'), ('&', ';')] {
        let begin = message.rfind(begins);
        let whole = |begin: &usize| {
            message
                .get(*begin..)
                .is_some_and(|rest| rest.contains(ends))
        };
        if let Some(begin) = begin.filter(|begin| !whole(begin)) {
            message.truncate(begin);
        }
    }
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
