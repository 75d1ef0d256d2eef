//! The name, logo and colour of the configuration.

use super::{enter, guest, link_for};
use crate::harness::Home;
use crate::ui::browser::{Browser, links};

#[test]
fn the_portal_looks_as_the_configuration_says() {
    let home = Home::new();
    let logo = home.path("logo.svg");
    std::fs::write(
        &logo,
        "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>x</script></svg>",
    )
    .unwrap();
    let looks = |name: &str| {
        format!(
            "[portal]\nname = \"{name}\"\nlogo_file = {logo:?}\naccent = \"#ffee00\"\n\
             refresh_url = \"https://app.example/links?a=1&b=2\"\n"
        )
    };
    let daemon = home.start(&looks("<Acme> & Sons"));
    let mut browser = guest(&daemon, "acme");
    let page = browser.page("/portal/");
    assert!(page.contains("&#60;Acme&#62; &#38; Sons"), "{page}");
    let source = page
        .split("class=\"logo\" src=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let picture = browser.get(source);
    assert_eq!(
        (picture.status, picture.header("content-type")),
        (200, Some("image/svg+xml"))
    );
    let policy = picture.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    let sheets: Vec<String> = links(&page);
    let brand = sheets.iter().find(|one| one.contains("/brand-")).unwrap();
    let sheet = browser.get(brand);
    assert!(
        sheet
            .text()
            .contains("background:#ffee00;border-color:#ffee00;color:#000")
    );
    assert!(
        !page.contains("style=") && !page.contains("<style"),
        "{page}"
    );
    // The operator's pages are outboxd's.
    let mut operator = Browser::new(&daemon);
    assert!(!operator.page("/ui/").contains("Acme"));
    // An expired link leads to a new one.
    let used = link_for(&daemon, "acme", &["view"]);
    enter(&mut browser, &used);
    let refused = enter(&mut Browser::new(&daemon), &used).text();
    assert!(
        refused.contains("href=\"https://app.example/links?a=1&#38;b=2\""),
        "{refused}"
    );
    home.write_config(&looks("Globex"));
    daemon.reload();
    let page = browser.page("/portal/");
    assert!(page.contains("Globex") && !page.contains("Acme"), "{page}");
}

#[test]
fn faults_of_the_looks_are_named_with_their_fix() {
    let home = Home::new();
    let text = home.path("logo.txt");
    std::fs::write(&text, "not a picture").unwrap();
    let config = home.write_config(&format!(
        "[portal]\naccent = \"greenish\"\nlogo_file = {text:?}\n\
         frame_ancestors = [\"http://app.example\", \"https://app.example/a\"]\n\
         refresh_url = \"javascript:x\"\nnme = \"x\"\n"
    ));
    let ran = home.run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for part in [
        "portal.accent",
        "is not a CSS colour",
        "is not a picture that browsers show",
        "frames are shown over HTTPS only",
        "is more than an origin",
        "portal.refresh_url",
        "did you mean",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}
