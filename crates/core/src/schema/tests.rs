use std::fmt::Write;

use super::*;

fn problems(json: &str) -> Vec<SchemaProblem> {
    TableSchema::from_json(json, &Limits::default()).expect_err(json)
}

/// A schema of one field `a` with these further keys.
fn field(keys: &str) -> String {
    format!(r#"{{"fields": [{{"name": "a", {keys}}}]}}"#)
}

#[test]
fn every_problem_has_its_place_and_says_what_is_taken() {
    let long_pattern = format!(r#""constraints": {{"pattern": "{}"}}"#, "a".repeat(2_000));
    let schemas = [
        String::new(),
        "[]".to_owned(),
        "{".to_owned(),
        "{}".to_owned(),
        r#"{"fields": {}}"#.to_owned(),
        r#"{"fields": []}"#.to_owned(),
        r#"{"fields": ["a", {}, {"name": ""}, {"name": 5}]}"#.to_owned(),
        r#"{"fields": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "primaryKey": "b"}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "primaryKey": ["a", "b", 3, "a"]}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "primaryKey": 1}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "foreignKeys": [{"fields": "a"}], "uniqueKeys": [["a"]]}"#
            .to_owned(),
        r#"{"fields": [{"name": "a"}], "primary_key": "a", "missing-values": ["NA"]}"#.to_owned(),
        r#"{"Fields": [{"name": "a"}]}"#.to_owned(),
        r#"{"fields": [{"name": null, "type": null}]}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "missingValues": "-"}"#.to_owned(),
        r#"{"fields": [{"name": "a"}], "missingValues": ["", 5]}"#.to_owned(),
        r#"{"fields": [{"name": "a", "type": "int"}, {"name": "a", "type": 5}]}"#.to_owned(),
        field(r#""required": true, "constraint": {}"#),
        field(r#""contraints": {"required": true}, "decimal_char": ",", "categories": ["x"]"#),
        field(r#""constraints": []"#),
        field(r#""constraints": {"requried": true, "a/b~c": 1}"#),
        field(r#""constraints": {"required": "yes", "minLength": -1, "maxLength": 1.5}"#),
        field(r#""constraints": {"minLength": 5, "maxLength": 3}"#),
        field(r#""constraints": {"minimum": 5, "pattern": "("}"#),
        field(r#""constraints": {"pattern": "a)|(b"}"#),
        field(r#""constraints": {"pattern": "(\\w{1000}){1000}"}"#),
        field(&long_pattern),
        field(r#""constraints": {"enum": []}"#),
        field(r#""constraints": {"enum": ["x", 7, null, [1]]}"#),
        field(r#""format": "phone""#),
        field(r#""trueValues": ["y"], "decimalChar": ",", "bareNumber": false"#),
        field(r#""type": "integer", "constraints": {"minimum": 10, "maximum": 3}"#),
        field(r#""type": "integer", "constraints": {"minimum": 1.5, "maximum": "many"}"#),
        field(
            r#""type": "integer", "constraints": {"maximum": 9223372036854775808, "pattern": "1"}"#,
        ),
        field(r#""type": "integer", "format": "hex", "constraints": {"enum": [1, "2", "x"]}"#),
        field(r#""type": "integer", "allowNonFinite": true, "decimalChar": ",""#),
        field(r#""type": "number", "decimalChar": ",", "groupChar": ",""#),
        field(r#""type": "number", "decimalChar": "..", "groupChar": "5""#),
        field(r#""type": "number", "constraints": {"minimum": "NaN", "maximum": "abc"}"#),
        field(r#""type": "number", "constraints": {"minimum": 1e400}"#),
        field(r#""type": "boolean", "constraints": {"minimum": 0, "enum": ["maybe"]}"#),
        field(r#""type": "boolean", "trueValues": ["y", "0"]"#),
        field(r#""type": "boolean", "trueValues": ["y"], "falseValues": ["n", "y"]"#),
        field(r#""type": "boolean", "trueValues": []"#),
        field(r#""type": "date", "format": "dd/mm/yyyy""#),
        field(r#""type": "date", "format": "%Y-%m""#),
        field(r#""type": "date", "format": "%Y-%m-%d %J""#),
        field(
            r#""type": "date", "format": "%d/%m/%Y", "constraints": {"minimum": "01/02/2024", "maximum": "2023-01-01"}"#,
        ),
        field(r#""type": "date", "constraints": {"minimum": 20240101, "maximum": "2024-02-30"}"#),
        field(r#""type": "time", "format": "%Y-%m-%d""#),
        field(r#""type": "datetime", "format": "%H:%M""#),
        field(r#""type": "datetime", "format": "%Y-%m-%d %H:%M %Q""#),
        "[".repeat(100_000),
    ];
    let mut table = String::new();
    for schema in schemas {
        let shown: String = schema.chars().take(120).collect();
        writeln!(table, "{shown}").unwrap();
        for problem in problems(&schema) {
            writeln!(table, "    {problem}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn limits_hold() {
    let limits = Limits {
        schema_fields: 2,
        enum_values: 2,
        ..Limits::default()
    };
    for (json, pointer) in [
        (
            r#"{"fields": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}"#,
            "/fields",
        ),
        (
            r#"{"fields": [{"name": "a", "constraints": {"enum": ["x", "y", "z"]}}]}"#,
            "/fields/0/constraints/enum",
        ),
        (
            r#"{"fields": [{"name": "a"}], "missingValues": ["x", "y", "z"]}"#,
            "/missingValues",
        ),
    ] {
        let problems = TableSchema::from_json(json, &limits).expect_err(json);
        assert_eq!(problems[0].pointer, pointer);
    }
}

#[test]
fn a_schema_goes_out_and_comes_back_the_same() {
    let json = r#"{
        "$schema": "https://example.org/profile",
        "fields": [
            {"name": "id", "type": "integer", "constraints": {"required": true, "unique": true, "minimum": 1}},
            {"name": "name", "title": "Name", "constraints": {"minLength": 1, "pattern": "[A-Z].*"}},
            {"name": "price", "type": "number", "decimalChar": ",", "groupChar": ".", "bareNumber": false},
            {"name": "paid", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
            {"name": "day", "type": "date", "format": "%d.%m.%Y", "constraints": {"minimum": "2020-01-01"}},
            {"name": "at", "type": "time"},
            {"name": "when", "type": "datetime", "format": "any"},
            {"name": "kind", "constraints": {"enum": ["a", "b"]}},
            {"name": "rest", "type": "any"}
        ],
        "primaryKey": "id",
        "missingValues": ["", "-"]
    }"#;
    let limits = Limits::default();
    let schema = TableSchema::from_json(json, &limits).unwrap();
    assert_eq!(schema.primary_key, ["id"]);
    assert_eq!(schema.fields[1].kind, FieldType::String);
    let again = serde_json::to_string(&schema).unwrap();
    assert_eq!(TableSchema::from_json(&again, &limits).unwrap(), schema);
    assert_eq!(serde_json::from_str::<TableSchema>(&again).unwrap(), schema);
}

#[test]
fn patterns_match_the_whole_cell() {
    for (pattern, text, matches) in [
        ("[a-z]+", "abc", true),
        ("[a-z]+", "abc1", false),
        ("a|bc", "bc", true),
        ("a|bc", "abc", false),
        ("^a$", "a", true),
        ("(?x) a b  # comment", "ab", true),
        ("(?m)^a$", "a\nb", false),
        (".", "ü", true),
    ] {
        let schema = field(&format!(
            r#""constraints": {{"pattern": {}}}"#,
            serde_json::Value::from(pattern)
        ));
        let limits = Limits::default();
        let schema = TableSchema::from_json(&schema, &limits).unwrap();
        let rules = schema.rules(&limits).unwrap();
        let Kind::Text(text_rules) = &rules[0].kind else {
            panic!("a string column")
        };
        let pattern_matches = text_rules
            .pattern
            .as_ref()
            .unwrap()
            .is_match(text.as_bytes());
        assert_eq!(pattern_matches, matches, "{pattern} {text}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"fields\"",
        "\"name\"",
        "\"type\"",
        "\"date\"",
        "\"format\"",
        "\"%\"",
        "\"%Y\"",
        "\"constraints\"",
        "\"minimum\"",
        "\"enum\"",
        "\"pattern\"",
        "\"(\"",
        "1",
        "-1e9",
        "null",
        "true",
        "\"integer\"",
        "\"primaryKey\"",
        "\"missingValues\"",
        "\"a\"",
    ];
    let limits = Limits::default();
    let tokens = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40);
    proptest::proptest!(|(tokens in tokens, text in ".{0,60}")| {
        let _ = TableSchema::from_json(&tokens.concat(), &limits);
        let _ = TableSchema::from_json(&text, &limits);
        let format = serde_json::Value::from(text);
        for kind in ["string", "date", "time", "datetime"] {
            let _ = TableSchema::from_json(&field(&format!(r#""type": "{kind}", "format": {format}"#)), &limits);
        }
        let _ = TableSchema::from_json(&field(&format!(r#""constraints": {{"pattern": {format}}}"#)), &limits);
    });
}
