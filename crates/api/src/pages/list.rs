//! What lists of jobs and of findings have in common.

/// The last page that can be asked for.
pub(super) const LAST_PAGE: u64 = 1_000_000;

/// A link that narrows a list.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) label: String,
    pub(super) href: String,
    pub(super) current: bool,
}

/// Links to the pages beside this one.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) page: u64,
    pub(super) pages: u64,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Pager {
    /// For `total` things, `size` to a page; `href` makes the address of a page.
    pub(super) fn new(page: u64, total: u64, size: u32, href: impl Fn(u64) -> String) -> Self {
        let pages = total.div_ceil(u64::from(size));
        Self {
            page,
            pages,
            before: (page > 1).then(|| href((page - 1).min(pages.max(1)))),
            after: (page < pages).then(|| href(page + 1)),
        }
    }
}
