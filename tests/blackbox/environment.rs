//! Keys of the configuration that are given in the environment.

use crate::harness::Home;

#[test]
fn keys_in_the_environment_win_over_the_file() {
    let mut home = Home::new();
    // By the file it would not listen on TCP, and not log that it is ready.
    let socket = home.path("api.sock");
    let text = format!(
        "[listen]\nhttp = \"\"\nunix = {socket:?}\n[log]\nlevel = \"error\"\nformat = \"json\"\n"
    );
    home.set_env("OUTBOXD_LISTEN__HTTP", "127.0.0.1:0");
    home.set_env("OUTBOXD_LOG__LEVEL", "info");
    let daemon = home.start(&text);
    assert_eq!(daemon.tcp.get("/readyz").status, 200);
    assert!(daemon.url().starts_with("http://127.0.0.1:"));

    let shown = home.run(&["check", "--config", "outboxd.toml"]).stdout;
    assert!(shown.contains("# from the environment: OUTBOXD_LISTEN__HTTP, OUTBOXD_LOG__LEVEL\n"));
    assert!(shown.contains("\nhttp = \"127.0.0.1:0\"\n"), "{shown}");

    // A client takes the address from it too, and leaves what is not its own alone.
    home.set_env("OUTBOXD_LISTEN__UNIX", "");
    home.set_env(
        "OUTBOXD_LISTEN__HTTP",
        daemon.url().trim_start_matches("http://"),
    );
    home.set_env("OUTBOXD_AUTH__TOKENS", "[{ token_file = \"/nowhere\" }]");
    let found = home.run(&["status", "--json", "--config", "outboxd.toml"]);
    assert_eq!(found.json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_variable_that_is_misspelt_or_faulty_is_a_configuration_error() {
    let mut home = Home::new();
    home.write_config("");
    home.set_env("OUTBOXD_LISTEN_HTTP", "127.0.0.1:0");
    home.set_env("OUTBOXD_DELIVERY__THREADS", "many");
    for command in ["check", "serve"] {
        let ran = home.run(&[command, "--config", "outboxd.toml"]);
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
        assert_eq!(
            ran.stderr,
            "OUTBOXD_DELIVERY__THREADS: delivery.threads: this is a whole number, not a string; \
             fix: write digits only, without quotes and unit\n\
             OUTBOXD_LISTEN_HTTP: this variable names no key; \
             fix: did you mean OUTBOXD_LISTEN__HTTP?\n"
        );
    }
    assert!(!home.data_dir().exists());
}
