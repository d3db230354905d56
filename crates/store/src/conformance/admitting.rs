//! API keys: who may call.

use std::time::Duration;

use filejobs_core::{ApiKey, Grant, Namespace, Scope};

use super::Bench;
use crate::{Error, NewApiKey, StoredApiKey};

fn new_key(bench: &Bench, name: &str) -> NewApiKey {
    let key = ApiKey::generate(&*bench.sources.randomness);
    NewApiKey {
        prefix: key.prefix().clone(),
        hash: key.hash(),
        name: name.parse().expect("a name"),
        grant: Grant::admin(),
        expires_at: None,
    }
}

async fn created(bench: &Bench, new: NewApiKey) -> StoredApiKey {
    let created = bench.store.create_api_key(new).await.expect("answers");
    created.expect("the prefix is free")
}

/// Nothing about it is lost, whatever it allows.
pub async fn an_api_key_comes_back_as_it_was_written_down(bench: &Bench) {
    let team: Namespace = "team-a".parse().expect("a namespace");
    let expiry = bench.sources.now() + Duration::from_hours(1);
    let scopes: [&[Scope]; 3] = [
        &[Scope::JobsRead],
        &[Scope::JobsWrite],
        &[Scope::JobsRead, Scope::JobsWrite],
    ];
    let grants = scopes.map(|scopes| Grant::new(scopes, Some(team.clone())).expect("sound"));
    for grant in grants.into_iter().chain([Grant::admin()]) {
        for expires_at in [None, Some(expiry)] {
            let new = NewApiKey {
                grant: grant.clone(),
                expires_at,
                ..new_key(bench, "nightly import \u{1f4e6}")
            };
            let wanted = StoredApiKey {
                prefix: new.prefix.clone(),
                hash: new.hash,
                name: new.name.clone(),
                grant: new.grant.clone(),
                created_at: bench.sources.now(),
                expires_at,
                revoked_at: None,
                last_used_at: None,
            };
            assert_eq!(created(bench, new).await, wanted);
            let found = bench.store.api_key(&wanted.prefix).await;
            assert_eq!(found.expect("answers"), Some(wanted));
        }
    }
    let unknown = "unknown".parse().expect("a prefix");
    let found = bench.store.api_key(&unknown).await;
    assert_eq!(found.expect("answers"), None);
}

/// A prefix names one key, and the first one keeps it: also once it is revoked.
pub async fn no_two_api_keys_have_one_prefix(bench: &Bench) {
    let first = created(bench, new_key(bench, "first")).await;
    for revoke in [false, true] {
        if revoke {
            let revoked = bench.store.revoke_api_key(&first.prefix).await;
            revoked.expect("revoked");
        }
        let second = NewApiKey {
            prefix: first.prefix.clone(),
            ..new_key(bench, "second")
        };
        let refused = bench.store.create_api_key(second).await;
        assert_eq!(refused.expect("answers"), None);
        let kept = bench.store.api_key(&first.prefix).await.expect("answers");
        let kept = kept.expect("still there");
        assert_eq!((kept.hash, kept.name), (first.hash, first.name.clone()));
    }
}

/// The list shows all of them, whatever became of them.
pub async fn api_keys_are_listed_newest_first(bench: &Bench) {
    let mut wanted = Vec::new();
    for name in ["a", "b", "c"] {
        bench.clock.advance(Duration::from_secs(1));
        let expired = NewApiKey {
            expires_at: (name == "b").then(|| bench.sources.now()),
            ..new_key(bench, name)
        };
        wanted.insert(0, created(bench, expired).await);
    }
    let revoked = bench.store.revoke_api_key(&wanted[0].prefix).await;
    wanted[0] = revoked.expect("revoked");
    assert_eq!(bench.store.api_keys().await.expect("answers"), wanted);
}

/// The first time counts, and nothing brings it back.
pub async fn a_revoked_api_key_stays_revoked(bench: &Bench) {
    let key = created(bench, new_key(bench, "a")).await;
    let at = bench.sources.now();
    for _ in 0..2 {
        let revoked = bench.store.revoke_api_key(&key.prefix).await;
        assert_eq!(revoked.expect("revoked").revoked_at, Some(at));
        bench.clock.advance(Duration::from_secs(5));
    }
    let unknown = "unknown".parse().expect("a prefix");
    let revoked = bench.store.revoke_api_key(&unknown).await;
    assert!(matches!(revoked, Err(Error::NotFound)));
}

/// Many uses within a minute are one.
pub async fn the_use_of_an_api_key_is_noted_now_and_then(bench: &Bench) {
    let every = Duration::from_mins(1);
    let key = created(bench, new_key(bench, "a")).await;
    let used = || async {
        let noted = bench.store.note_api_key_use(&key.prefix, every).await;
        noted.expect("noted");
        let found = bench.store.api_key(&key.prefix).await.expect("answers");
        found.expect("there").last_used_at
    };
    let first = bench.sources.now();
    assert_eq!(used().await, Some(first));
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(used().await, Some(first));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(used().await, Some(bench.sources.now()));
    let unknown = "unknown".parse().expect("a prefix");
    let noted = bench.store.note_api_key_use(&unknown, every).await;
    noted.expect("nothing to note is fine");
}
