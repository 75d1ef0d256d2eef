//! Reads the secrets and the public key of a definition, and makes the keys of its schemes.

use super::fault::BadSource;
use super::keys::{Key, SchemeKey, SourceSecret, of_public_key, of_secret};
use super::recipe::{Algorithm, KeyForm, Recipe};
use super::source::{MAX_SECRET, MAX_SECRETS};
use super::table::Table;

/// The secrets as they are given, newest first.
pub(super) fn secrets(table: &Table<'_>) -> Result<Vec<SourceSecret>, BadSource> {
    let key = "secrets";
    let texts = table.texts(key)?.unwrap_or_default();
    if texts.len() > MAX_SECRETS {
        let problem = format!("more than {MAX_SECRETS} secrets");
        return Err(table.fault(key, problem, "leave out the oldest"));
    }
    let read = |(n, text): (usize, &str)| match text.len() {
        1..=MAX_SECRET => Ok(SourceSecret {
            text: text.into(),
            until: None,
        }),
        0 => Err(table.fault(&format!("{key}[{n}]"), "this secret is empty", "remove it")),
        _ => {
            let fix = format!("write at most {MAX_SECRET} bytes");
            Err(table.fault(&format!("{key}[{n}]"), "this secret is too long", fix))
        }
    };
    texts.into_iter().enumerate().map(read).collect()
}

/// The keys of each scheme. A secret has to be a key of one scheme at least.
pub(super) fn keys(
    table: &Table<'_>,
    recipe: &Recipe,
    secrets: &[SourceSecret],
    account: Option<&str>,
) -> Result<Vec<Vec<SchemeKey>>, BadSource> {
    let public = table.filled("public_key")?;
    let mut all = Vec::with_capacity(recipe.schemes.len());
    let mut is_used = vec![false; secrets.len()];
    for scheme in &recipe.schemes {
        let mut keys = Vec::new();
        for (number, (secret, used)) in (1..).zip(secrets.iter().zip(&mut is_used)) {
            if let Some(key) = of_secret(scheme, &secret.text) {
                *used = true;
                keys.push(SchemeKey {
                    key,
                    number,
                    until: secret.until,
                });
            }
        }
        let lasting = |key| SchemeKey {
            key,
            number: 0,
            until: None,
        };
        if let Some(text) = public.filter(|_| scheme.algorithm.is_asymmetric()) {
            let key = of_public_key(scheme.algorithm, text).ok_or_else(|| {
                let fix = "write it as the provider shows it, in hex or base64";
                table.fault("public_key", "this is not a public key", fix)
            })?;
            keys.push(lasting(key));
        }
        if scheme.algorithm == Algorithm::SalesforceAccount {
            keys.extend(account.map(|account| lasting(Key::Account(account.into()))));
        }
        all.push(keys);
    }
    match is_used.iter().position(|used| !used) {
        None => Ok(all),
        Some(n) => {
            let forms = recipe.schemes.iter().map(|scheme| scheme.key);
            let fix = match forms.into_iter().find(|form| *form != KeyForm::Text) {
                Some(KeyForm::Whsec) => "write it as the provider shows it: whsec_ and base64",
                Some(KeyForm::Hex) => "write it in hex",
                _ => "write it in base64, as the provider shows it",
            };
            let key = format!("secrets[{n}]");
            Err(table.fault(&key, "this secret does not have the form of one", fix))
        }
    }
}
