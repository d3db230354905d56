//! Replaces a workbook's styles by the little that reading cells needs of them: which are dates.
//!
//! The spreadsheet library copies fonts, fills, borders and format codes for every style. A small part can
//! make that gigabytes: one font with a long name, a style that uses it a hundred thousand times.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, BufReader};
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::archive::{Archive, limit};
use super::xml_guard::XmlPart;
use crate::reader::ReadError;

/// The part itself; real ones of much-used workbooks have a few MiB.
const PART_MAX: u64 = 64 * 1024 * 1024;
/// Cell styles; spreadsheet programs allow about 64,000.
const STYLES_MAX: usize = 65_536;
/// A format code; spreadsheet programs allow 255 characters.
const CODE_MAX: usize = 512;

/// The styles part anew, with nothing but number formats.
pub(super) fn reduced(archive: &Arc<Archive>, index: usize) -> Result<Vec<u8>, ReadError> {
    if archive.entries[index].size > PART_MAX {
        return Err(limit(format!(
            "The workbook's styles are larger than {PART_MAX} bytes"
        )));
    }
    let (part, witness) = XmlPart::new(archive, index, PART_MAX);
    let parsed = parse(BufReader::with_capacity(64 * 1024, part), || {
        witness.event();
    });
    match parsed {
        Ok(styles) => Ok(styles.write()),
        Err(Broken::Refused(error)) => Err(error),
        Err(Broken::Xml) => Err(witness.trouble()),
    }
}

/// Why the styles cannot be read.
#[derive(Debug)]
enum Broken {
    Refused(ReadError),
    Xml,
}

/// What is kept.
#[derive(Debug, Default)]
struct Styles {
    /// Format codes by id.
    codes: HashMap<String, String>,
    /// The format id of each cell style, in order.
    cells: Vec<Option<String>>,
}

/// Of which list of the part an element is: number formats and styles of other lists mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Formats,
    Cells,
    Other,
}

fn parse(input: impl io::BufRead, event: impl Fn()) -> Result<Styles, Broken> {
    let mut reader = Reader::from_reader(input);
    reader.config_mut().check_end_names = false;
    let mut styles = Styles::default();
    let mut list = List::Other;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let found = reader.read_event_into(&mut buffer);
        event();
        match found {
            Ok(Event::Start(tag)) => match tag.local_name().as_ref() {
                "numFmts" => list = List::Formats,
                "cellXfs" => list = List::Cells,
                _ => styles.take(list, &tag)?,
            },
            // A list that is empty has no end of its own.
            Ok(Event::Empty(tag)) => styles.take(list, &tag)?,
            Ok(Event::End(tag)) if matches!(tag.local_name().as_ref(), "numFmts" | "cellXfs") => {
                list = List::Other;
            }
            Ok(Event::Eof) => return Ok(styles),
            Ok(_) => {}
            Err(_) => return Err(Broken::Xml),
        }
        if styles.cells.len() > STYLES_MAX || styles.codes.len() > STYLES_MAX {
            return Err(Broken::Refused(limit(format!(
                "The workbook has more than {STYLES_MAX} cell styles; clear the formats of cells without data"
            ))));
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Broken> {
    let found = tag
        .attributes()
        .with_checks(false)
        .flatten()
        .find(|a| a.key.as_ref() == name);
    let Some(found) = found else {
        return Ok(None);
    };
    let text = quick_xml::escape::unescape(&found.value).map_err(|_| Broken::Xml)?;
    Ok(Some(text.into_owned()))
}

impl Styles {
    fn take(&mut self, list: List, tag: &BytesStart<'_>) -> Result<(), Broken> {
        match (list, tag.local_name().as_ref()) {
            (List::Cells, "xf") => self.cells.push(attribute(tag, "numFmtId")?),
            (List::Formats, "numFmt") => {
                let id = attribute(tag, "numFmtId")?;
                let code = attribute(tag, "formatCode")?;
                if let (Some(id), Some(mut code)) = (id, code) {
                    code.truncate(code.floor_char_boundary(CODE_MAX));
                    self.codes.insert(id, code);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&self) -> Vec<u8> {
        let mut xml = String::from("<styleSheet><numFmts>");
        for (id, code) in &self.codes {
            push(&mut xml, "<numFmt numFmtId=\"", id);
            push(&mut xml, "\" formatCode=\"", code);
            xml.push_str("\"/>");
        }
        xml.push_str("</numFmts><cellXfs>");
        for id in &self.cells {
            push(&mut xml, "<xf numFmtId=\"", id.as_deref().unwrap_or("0"));
            xml.push_str("\"/>");
        }
        xml.push_str("</cellXfs></styleSheet>");
        xml.into_bytes()
    }
}

fn push(xml: &mut String, before: &str, value: &str) {
    // Writing into a string cannot fail.
    let _ = write!(xml, "{before}{}", quick_xml::escape::escape(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_number_formats_stay() {
        let xml = r#"<?xml version="1.0"?><x:styleSheet xmlns:x="a"><x:numFmts count="1">
            <x:numFmt numFmtId="164" formatCode="yyyy\-mm\-dd &quot;&amp;&quot;"/></x:numFmts>
            <x:fonts><x:font><x:name val="A long name"/></x:font></x:fonts>
            <x:cellStyleXfs><x:xf numFmtId="9"/></x:cellStyleXfs>
            <x:cellXfs><x:xf numFmtId="0"/><x:xf numFmtId="164"><x:alignment/></x:xf><x:xf/></x:cellXfs>
            <x:dxfs count="2"><x:dxf><x:numFmt numFmtId="164" formatCode="0.00%"/></x:dxf>
            <x:dxf><x:numFmt numFmtId="14" formatCode="0.00%"></x:numFmt></x:dxf></x:dxfs>
            </x:styleSheet>"#;
        let reduced = parse(xml.as_bytes(), || ()).unwrap().write();
        assert_eq!(
            String::from_utf8(reduced).unwrap(),
            "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd &quot;&amp;&quot;\"/>\
             </numFmts><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"164\"/><xf numFmtId=\"0\"/></cellXfs></styleSheet>"
        );
    }

    #[test]
    fn an_empty_list_holds_nothing_of_what_follows() {
        let xml = r#"<styleSheet><numFmts/><cellXfs/><cellStyles><xf numFmtId="9"/></cellStyles>
            <dxfs><dxf><numFmt numFmtId="14" formatCode="0.00%"/></dxf></dxfs></styleSheet>"#;
        let reduced = parse(xml.as_bytes(), || ()).unwrap().write();
        assert_eq!(
            String::from_utf8(reduced).unwrap(),
            "<styleSheet><numFmts></numFmts><cellXfs></cellXfs></styleSheet>"
        );
    }
}
