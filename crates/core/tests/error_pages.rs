//! Users search for codes: each has a page, and no page has a code that is gone.

use std::collections::BTreeSet;
use std::path::Path;

use filejobs_core::{FailureCode, FindingCode};

fn pages() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

fn codes() -> BTreeSet<String> {
    let findings = FindingCode::ALL.iter().map(|code| code.as_str());
    let failures = FailureCode::ALL.iter().map(|code| code.as_str());
    findings.chain(failures).map(str::to_owned).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let files = std::fs::read_dir(pages()).unwrap();
    let pages: BTreeSet<String> = files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".md")?.to_owned())
        })
        .filter(|name| name != "README")
        .collect();
    assert_eq!(pages, codes());
}

#[test]
fn every_page_is_titled_with_its_code_and_says_what_to_do() {
    let index = std::fs::read_to_string(pages().join("README.md")).unwrap();
    for code in codes() {
        let page = std::fs::read_to_string(pages().join(format!("{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# `{code}`\n")), "{code}");
        assert!(page.contains("\n## What to do\n"), "{code}");
        assert!(
            index.contains(&format!("]({code}.md)")),
            "{code} is not in the index"
        );
    }
}

#[test]
fn pages_of_failures_name_their_class() {
    for code in FailureCode::ALL {
        let page = std::fs::read_to_string(pages().join(format!("{}.md", code.as_str()))).unwrap();
        let class = format!("class `{}`", code.class().as_str());
        assert!(page.contains(&class), "{} is of {class}", code.as_str());
    }
}
