//! A database for each test, on the server that all tests of a binary share.

use filejobs_store_postgres::PostgresStore;
use filejobs_testkit::postgres::PostgresServer;
use tokio::sync::OnceCell;

/// The address of an empty database with the schema as it is now.
pub(crate) async fn database() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let server = PostgresServer::shared();
    let template = TEMPLATE.get_or_init(|| async {
        let name = server.create(None).expect("created");
        let migrated = PostgresStore::migrate(&server.url(&name)).await;
        assert!(migrated.expect("migrated") > 0);
        name
    });
    let copy = server.create(Some(template.await)).expect("copied");
    server.url(&copy)
}
