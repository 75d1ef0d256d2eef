//! A browser without a script: it keeps cookies, sends the origin of its pages, and fills in forms.

use std::collections::BTreeMap;

use crate::harness::Daemon;
use crate::harness::http::{Interface, Response};

/// See the module.
pub struct Browser {
    interface: Interface,
    /// The `Host` that it has in its address bar.
    pub host: String,
    pub scheme: &'static str,
    cookies: BTreeMap<String, String>,
    /// Headers that are sent beside its own.
    pub more: Vec<(String, String)>,
}

/// A form of a page.
#[derive(Clone, Debug)]
pub struct Form {
    pub action: String,
    pub fields: Vec<(String, String)>,
    /// What its buttons say.
    pub text: String,
}

impl Form {
    pub fn with(mut self, name: &str, value: &str) -> Form {
        self.fields.retain(|(own, _)| own != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Form {
        self.fields.retain(|(own, _)| own != name);
        self
    }

    pub fn value(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Browser {
    /// On the daemon's own machine.
    pub fn new(daemon: &Daemon) -> Browser {
        let host = daemon.url().trim_start_matches("http://").to_owned();
        Browser::at(daemon.tcp.clone(), "http", &host)
    }

    pub fn at(interface: Interface, scheme: &'static str, host: &str) -> Browser {
        Browser {
            interface,
            host: host.to_owned(),
            scheme,
            cookies: BTreeMap::new(),
            more: Vec::new(),
        }
    }

    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// `name=value` of all cookies.
    pub fn cookie(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// One request, without following where it leads.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let (host, cookie) = (self.host.clone(), self.cookie());
        let mut all = vec![("host", host.as_str())];
        if !cookie.is_empty() {
            all.push(("cookie", &cookie));
        }
        let more = self.more.clone();
        all.extend(
            more.iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        all.extend_from_slice(headers);
        let answer = self.interface.request(method, path, &all, body.as_bytes());
        for (_, set) in answer
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
        {
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            match value {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, &[], "")
    }

    /// A page that is there.
    #[track_caller]
    pub fn page(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Sends a form as its page would.
    pub fn submit(&mut self, form: &Form) -> Response {
        let origin = self.origin();
        self.submit_from(form, Some(&origin))
    }

    /// Sends a form as a page of another origin would, or of none.
    pub fn submit_from(&mut self, form: &Form, origin: Option<&str>) -> Response {
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form.fields)
            .finish();
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        self.ask("POST", &form.action, &headers, &body)
    }

    /// The form of a page whose action ends so.
    #[track_caller]
    pub fn form(&mut self, page: &str, action: &str) -> Form {
        let html = self.page(page);
        let found = forms(&html, page)
            .into_iter()
            .find(|form| form.action.ends_with(action));
        found.unwrap_or_else(|| panic!("{page} has no form for {action}: {html}"))
    }

    /// Sends a form, and gives the page that it leads to.
    #[track_caller]
    pub fn follow(&mut self, form: &Form) -> (String, String) {
        let answer = self.submit(form);
        assert_eq!(answer.status, 303, "{}: {}", form.action, answer.text());
        let place = answer.header("location").unwrap().to_owned();
        let page = self.page(&place);
        (place, page)
    }

    /// Logs in with a token.
    pub fn log_in(&mut self, token: &str) -> Response {
        let form = Form {
            action: "/ui/login".to_owned(),
            fields: vec![("token".to_owned(), token.to_owned())],
            text: String::new(),
        };
        self.submit(&form)
    }
}

/// Takes character references back.
pub fn unescaped(text: &str) -> String {
    text.replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

/// The value of an attribute of a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescaped(rest.split('"').next()?))
}

/// The addresses that a page links to.
pub fn links(html: &str) -> Vec<String> {
    let tags = html.split('<').skip(1);
    let tags = tags.filter(|tag| tag.starts_with("a ") || tag.starts_with("link "));
    tags.filter_map(|tag| attribute(tag.split('>').next()?, "href"))
        .collect()
}

/// The forms of a page that post.
pub fn forms(html: &str, page: &str) -> Vec<Form> {
    let mut found = Vec::new();
    for part in html.split("<form").skip(1) {
        let (head, rest) = part.split_once('>').unwrap();
        if attribute(head, "method").as_deref() != Some("post") {
            continue;
        }
        let inside = rest.split("</form>").next().unwrap();
        let own = page.split(['?', '#']).next().unwrap_or(page).to_owned();
        found.push(Form {
            action: attribute(head, "action").unwrap_or(own),
            fields: fields(inside),
            text: text_of(inside),
        });
    }
    found
}

fn fields(inside: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for part in inside.split('<').skip(1) {
        let (tag, after) = part.split_once('>').unwrap_or((part, ""));
        let name = attribute(tag, "name");
        match (tag.split_whitespace().next(), name) {
            (Some("input"), Some(name)) => {
                fields.push((name, attribute(tag, "value").unwrap_or_default()));
            }
            // A line break at the beginning is not a part of the value.
            (Some("textarea"), Some(name)) => {
                let value = unescaped(after.strip_prefix('\n').unwrap_or(after));
                fields.push((name, value.replace('\n', "\r\n")));
            }
            (Some("select"), Some(name)) => {
                let options = inside.split(&format!("name=\"{name}\"")).nth(1).unwrap();
                let options = options.split("</select>").next().unwrap();
                let chosen = options
                    .split("<option")
                    .find(|one| one.contains(" selected"));
                let chosen = chosen.and_then(|one| one.split_once('>')?.1.split('<').next());
                fields.push((name, chosen.unwrap_or_default().to_owned()));
            }
            _ => {}
        }
    }
    fields
}

/// What a reader sees of a page, in one line.
pub fn text_of(html: &str) -> String {
    let parts = html
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let text = unescaped(&parts.collect::<Vec<_>>().join(" "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
