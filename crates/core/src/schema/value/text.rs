//! Formats of strings.

/// What a string column's text must look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StringFormat {
    /// Any text.
    #[default]
    Default,
    /// An e-mail address: one `@`, a plain local part, a domain of labels.
    Email,
    /// A URI with its scheme (RFC 3986).
    Uri,
    /// A UUID in its five groups.
    Uuid,
    /// Base64 (RFC 4648, padded).
    Binary,
}

impl StringFormat {
    /// The formats with their names in a schema.
    pub const ALL: [(&'static str, Self); 5] = [
        ("default", Self::Default),
        ("email", Self::Email),
        ("uri", Self::Uri),
        ("uuid", Self::Uuid),
        ("binary", Self::Binary),
    ];

    /// The format of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }

    /// Whether `text` has this format.
    #[must_use]
    pub fn accepts(self, text: &[u8]) -> bool {
        match self {
            Self::Default => true,
            Self::Email => is_email(text),
            Self::Uri => is_uri(text),
            Self::Uuid => is_uuid(text),
            Self::Binary => is_base64(text),
        }
    }
}

fn is_email(text: &[u8]) -> bool {
    let Some(at) = text.iter().rposition(|b| *b == b'@') else {
        return false;
    };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    let dotted = |part: &[u8]| part.split(|b| *b == b'.').all(|label| !label.is_empty());
    let local_byte =
        |b: &u8| b.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(b) || !b.is_ascii();
    let label_byte = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || !b.is_ascii();
    local.len() <= 64
        && text.len() <= 254
        && dotted(local)
        && local.iter().all(local_byte)
        && dotted(domain)
        && domain.split(|b| *b == b'.').all(|label| {
            label.len() <= 63
                && label.first() != Some(&b'-')
                && label.last() != Some(&b'-')
                && label.iter().all(label_byte)
        })
}

fn is_uri(text: &[u8]) -> bool {
    let Some(colon) = text.iter().position(|b| *b == b':') else {
        return false;
    };
    let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
    let scheme_ok = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    if !scheme_ok || rest.is_empty() || rest == b"//" {
        return false;
    }
    let mut bytes = rest.iter();
    while let Some(b) = bytes.next() {
        let fine = match b {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|b| b.is_some_and(u8::is_ascii_hexdigit)),
            b => b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(b),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    text.len().is_multiple_of(4)
        && padding <= 2
        && text[..text.len() - padding]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_strings() {
        use StringFormat::{Binary, Default, Email, Uri, Uuid};
        for (format, text, fits) in [
            (Default, "anything at all", true),
            (Email, "a@b.example", true),
            (Email, "a.b+c@localhost", true),
            (Email, "grüße@bücher.example", true),
            (Email, "a@b@c.example", false),
            (Email, "@b.example", false),
            (Email, "a@", false),
            (Email, "a", false),
            (Email, "a..b@c.example", false),
            (Email, "a@-b.example", false),
            (Email, "a b@c.example", false),
            (Uri, "https://example.org/a?b=c#d", true),
            (Uri, "urn:isbn:0451450523", true),
            (Uri, "mailto:a@b.example", true),
            (Uri, "https://example.org/%C3%BC", true),
            (Uri, "https://example.org/%C3%", false),
            (Uri, "https://exa mple.org", false),
            (Uri, "example.org/a", false),
            (Uri, "https://", false),
            (Uri, "1a:b", false),
            (Uri, ":b", false),
            (Uuid, "123e4567-e89b-12d3-a456-426614174000", true),
            (Uuid, "123E4567-E89B-12D3-A456-426614174000", true),
            (Uuid, "123e4567e89b12d3a456426614174000", false),
            (Uuid, "123e4567-e89b-12d3-a456-42661417400g", false),
            (Binary, "aGVsbG8=", true),
            (Binary, "", true),
            (Binary, "aGVsbG8", false),
            (Binary, "aGV=bG8=", false),
            (Binary, "a===", false),
        ] {
            assert_eq!(format.accepts(text.as_bytes()), fits, "{format:?} {text}");
        }
    }
}
