//! A namespace with all that a service on a cluster consists of.

use std::net::SocketAddr;
use std::path::PathBuf;

use filejobs_crd::{EventReason, FileJob, Phase};
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::disk::files_below;
use filejobs_testkit::gateway::Gateway;
use filejobs_testkit::http::{self, Answer, Upload};
use filejobs_testkit::kube::client::define;
use filejobs_testkit::kube::{ADMIN_TOKEN, CONTROLLER_TOKEN, KubeServer, kubeconfig_at};
use filejobs_testkit::names;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{BINARY, DEADLINE, ORDERS, schema};

/// The Lease of those who may lead.
pub(crate) const LEASE: &str = "filejobs-controller";

/// How long a controller may say nothing: nobody starts it anew, as a kubelet would, when it gives up the lead on a
/// machine that is busy with other tests.
const LASTING: &str = "1m";

/// Twice as long as in production: for tests of a lead that is lost.
pub(crate) const BRIEF: &str = "30s";

/// A namespace on the shared control plane, and a service that looks after it.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    kubeconfig: PathBuf,
    key: String,
}

/// What `docs/operator.md` says that the controller may do.
const RULES: &str = r#"[
    {"apiGroups": ["filejobs.dev"], "resources": ["filejobs"],
     "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    {"apiGroups": ["filejobs.dev"], "resources": ["filejobs/status"], "verbs": ["patch", "update"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
]"#;

/// The running processes of a place. They end with it.
pub(crate) struct Crew {
    pub(crate) api: Member,
    pub(crate) controller: Member,
    workers: Vec<Member>,
}

/// The client of one who may do everything.
async fn admin() -> Client {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let server = tokio::task::spawn_blocking(KubeServer::shared).await;
    let client = server.unwrap().client(ADMIN_TOKEN, "default").await;
    let client = client.unwrap();
    let define = async || {
        let defined = define(client.clone(), &filejobs_crd::definition()).await;
        defined.unwrap();
    };
    DEFINED.get_or_init(define).await;
    client
}

impl Place {
    /// A namespace in which the controller may do what the documentation says.
    pub(crate) async fn new() -> Self {
        Self::of_lease(LASTING).await
    }

    /// The same, whose controllers may say nothing for so long.
    pub(crate) async fn of_lease(duration: &str) -> Self {
        let client = admin().await;
        let namespace = names::unique("team");
        let mut cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
        let lease = ("FILEJOBS_LEASE_DURATION".to_owned(), duration.to_owned());
        cluster.environment.push(lease);
        let kubeconfig = cluster.files().with_file_name("kubeconfig");
        let text = KubeServer::shared().kubeconfig(CONTROLLER_TOKEN);
        std::fs::write(&kubeconfig, text).unwrap();
        let place = Self {
            key: cluster.admin_key().unwrap(),
            cluster,
            client,
            namespace,
            kubeconfig,
        };
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        let made = json!({"metadata": {"name": place.namespace}});
        let made = serde_json::from_value(made).unwrap();
        let parameters = PostParams::default();
        namespaces.create(&parameters, &made).await.unwrap();
        place.grant(|_| ()).await;
        place
    }

    /// The same, whose controllers reach the API server by way of a gateway.
    pub(crate) async fn gated() -> (Self, Gateway) {
        let place = Self::new().await;
        let gateway = place.gate();
        (place, gateway)
    }

    /// Puts a gateway between the API server and the controllers that are started from now on.
    pub(crate) fn gate(&self) -> Gateway {
        let gateway = Gateway::start(KubeServer::shared()).unwrap();
        self.go_by(gateway.address());
        gateway
    }

    /// What `docs/operator.md` says that the controller may do, as far as `change` leaves it.
    pub(crate) async fn grant(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut rules: Vec<Value> = serde_json::from_str(RULES).unwrap();
        change(&mut rules);
        self.apply::<Role>("controller", json!({ "rules": rules }))
            .await;
        let to = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "controller"}]
        });
        self.apply::<RoleBinding>("controller", to).await;
    }

    /// Waits until the API server knows what the controller may do: it learns of its own change a moment later.
    pub(crate) async fn until_it_may(&self, verb: &str, group: &str, resource: &str, may: bool) {
        let asked = json!({"metadata": {}, "spec": {"user": "controller", "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "namespace": self.namespace
        }}});
        let asked: SubjectAccessReview = serde_json::from_value(asked).unwrap();
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let known = wait::until("the change of rights to be known", DEADLINE, async || {
            let review = reviews.create(&PostParams::default(), &asked).await?;
            let allowed = review.status.is_some_and(|status| status.allowed);
            Ok((allowed == may).then_some(()))
        });
        known.await.unwrap();
    }

    /// A setting of the processes that are started from now on.
    pub(crate) fn environment(&mut self, name: &str, value: &str) {
        let variable = (name.to_owned(), value.to_owned());
        self.cluster.environment.push(variable);
    }

    /// API, controller and worker.
    pub(crate) async fn crew(&self) -> Crew {
        let (mut crew, worker) = tokio::join!(self.office(), self.worker());
        crew.workers.push(worker);
        crew
    }

    /// API and controller: nobody who does the work.
    pub(crate) async fn office(&self) -> Crew {
        let (api, controller) = tokio::join!(self.cluster.spawn(&["api"]), self.controller());
        Crew {
            api: api.unwrap(),
            controller,
            workers: Vec::new(),
        }
    }

    /// Another worker.
    pub(crate) async fn worker(&self) -> Member {
        self.cluster.spawn(&["worker"]).await.unwrap()
    }

    /// From now on controllers reach the API server by an address at which nothing is encrypted.
    pub(crate) fn go_by(&self, address: SocketAddr) {
        let text = kubeconfig_at(address, CONTROLLER_TOKEN);
        std::fs::write(&self.kubeconfig, text).unwrap();
    }

    /// Lets the next controller lead at once after one that was killed, as some seconds would.
    pub(crate) async fn forget_leader(&self) {
        let lease = self.all::<Lease>();
        let nobody = Patch::Merge(json!({"spec": {"holderIdentity": null}}));
        lease
            .patch(LEASE, &PatchParams::default(), &nobody)
            .await
            .unwrap();
        let database = self.cluster.database_url.rsplit('/').next().unwrap();
        let forget = "UPDATE leadership SET holder = NULL, until = NULL";
        PostgresServer::shared().run(database, forget).unwrap();
    }

    /// Another controller.
    pub(crate) async fn controller(&self) -> Member {
        let mut member = self.launch_controller();
        member.until_ready().await.unwrap();
        member
    }

    /// The same, which nobody waits for.
    pub(crate) fn launch_controller(&self) -> Member {
        let mut command = self.cluster.command(&["controller"]);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("FILEJOBS_WATCH_NAMESPACE", &self.namespace)
            .env("FILEJOBS_LEASE_NAMESPACE", &self.namespace)
            .env("FILEJOBS_PUBLIC_URL", "https://files.example.org");
        self.cluster.launch(command).unwrap()
    }

    /// Things of a kind in this namespace.
    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a thing as `kubectl apply` does.
    pub(crate) async fn apply<K>(&self, name: &str, mut content: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        content["apiVersion"] = json!(K::api_version(&()));
        content["kind"] = json!(K::kind(&()));
        content["metadata"]["name"] = json!(name);
        let parameters = PatchParams::apply("kubectl").force();
        let (all, content) = (self.all::<K>(), Patch::Apply(content));
        all.patch(name, &parameters, &content).await.unwrap()
    }

    /// Applies a ConfigMap with one file.
    pub(crate) async fn config_map(&self, name: &str, key: &str, text: &str) {
        let data = json!({ "data": { key: text } });
        self.apply::<ConfigMap>(name, data).await;
    }

    /// Applies a `FileJob`.
    pub(crate) async fn file_job(&self, name: &str, spec: Value) -> FileJob {
        self.apply(name, json!({ "spec": spec })).await
    }

    /// Applies a `FileJob` of [`ORDERS`] in a ConfigMap of the same name; `more` is set in its spec as well.
    pub(crate) async fn orders(&self, name: &str, more: Value) -> FileJob {
        self.config_map(name, "orders.csv", ORDERS).await;
        let source = json!({"configMap": {"name": name, "key": "orders.csv"}});
        let mut spec = json!({"source": source, "schema": schema()});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.file_job(name, spec).await
    }

    /// Changes an object as `kubectl patch` does.
    pub(crate) async fn change(&self, name: &str, change: Value) {
        let (all, change) = (self.all::<FileJob>(), Patch::Merge(change));
        let changed = all.patch(name, &PatchParams::default(), &change).await;
        changed.unwrap();
    }

    /// The object of a name, while there is one.
    pub(crate) async fn object(&self, name: &str) -> Option<FileJob> {
        self.all::<FileJob>().get_opt(name).await.unwrap()
    }

    /// Waits until an object is as wanted.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&FileJob) -> bool,
    ) -> FileJob {
        let mut last = None;
        let found = wait::until(what, DEADLINE, async || {
            last = self.object(name).await;
            Ok(last.clone().filter(&wanted))
        });
        let found = found.await;
        found.unwrap_or_else(|error| unreachable!("{error}; last seen: {last:#?}"))
    }

    /// Waits until an object has ended, in whatever way.
    pub(crate) async fn finished(&self, name: &str) -> FileJob {
        let finished = |object: &FileJob| condition(object, "Finished").0 == "True";
        self.until(name, "the object to be Finished", finished)
            .await
    }

    /// What events with a reason say of an object.
    pub(crate) async fn notes(&self, name: &str, reason: EventReason) -> Vec<String> {
        let all = self.all::<Event>().list(&ListParams::default()).await;
        let of_object = all.unwrap().items.into_iter().filter(|event| {
            let regarding = event.regarding.as_ref();
            regarding.and_then(|object| object.name.as_deref()) == Some(name)
                && event.reason.as_deref() == Some(reason.as_str())
        });
        of_object
            .map(|event| event.note.unwrap_or_default())
            .collect()
    }

    /// Waits until an event was told of an object; its note.
    pub(crate) async fn told(&self, name: &str, reason: EventReason) -> String {
        let what = format!("the event {reason:?} of {name}");
        let look = async || Ok(self.notes(name, reason).await.pop());
        wait::until(&what, DEADLINE, look).await.unwrap()
    }

    /// Deletes an object and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        self.ask_to_delete(name).await;
        self.gone(name).await;
    }

    /// Deletes an object as far as its finalizers let it go.
    pub(crate) async fn ask_to_delete(&self, name: &str) {
        let parameters = DeleteParams::default();
        let deleted = self.all::<FileJob>().delete(name, &parameters).await;
        deleted.unwrap();
    }

    /// Waits until there is no object of a name.
    pub(crate) async fn gone(&self, name: &str) {
        let gone = wait::until("the object to go", DEADLINE, async || {
            Ok(self.object(name).await.is_none().then_some(()))
        });
        gone.await.unwrap();
    }

    /// Waits until nothing is stored and no job is there.
    pub(crate) async fn empty(&self, crew: &Crew) {
        let mut last = (0, Vec::new());
        let empty = wait::until("jobs and files to go", DEADLINE, async || {
            last = (self.jobs(crew).await, self.stored());
            Ok((last == (0, Vec::new())).then_some(()))
        });
        let empty = empty.await;
        empty.unwrap_or_else(|error| unreachable!("{error}: {last:?}"));
    }

    /// Waits until no file is stored.
    pub(crate) async fn nothing_stored(&self) {
        let gone = wait::until("the files to go", DEADLINE, async || {
            Ok(self.stored().is_empty().then_some(()))
        });
        let gone = gone.await;
        gone.unwrap_or_else(|error| unreachable!("{error}: {:?}", self.stored()));
    }

    /// How many jobs there are.
    pub(crate) async fn jobs(&self, crew: &Crew) -> u64 {
        self.jobs_that(crew, "").await
    }

    /// How many jobs there are that a query's further parameters let through: `&NAME=VALUE`.
    pub(crate) async fn jobs_that(&self, crew: &Crew, filter: &str) -> u64 {
        let path = format!("jobs?page_size=1&namespace={}{filter}", self.namespace);
        let page = self.call(crew, Method::GET, &path).await;
        page.json()["total"].as_u64().unwrap()
    }

    /// Asks the API.
    pub(crate) async fn call(&self, crew: &Crew, method: Method, path: &str) -> Answer {
        let url = format!("{}/api/{path}", crew.api.url());
        let request = self.cluster.client.request(method, url);
        http::answer(request.header("x-api-key", &self.key))
            .await
            .unwrap()
    }

    /// Hands a file in for this namespace; the id of its job.
    pub(crate) async fn upload(&self, crew: &Crew, upload: Upload) -> String {
        let upload = upload.field("namespace", &self.namespace);
        let request = upload.request(&self.cluster.client, crew.api.url());
        let answer = http::answer(request.header("x-api-key", &self.key)).await;
        http::job_id(&answer.unwrap()).unwrap()
    }

    /// Files in the service's storage, but for those that are still coming.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.cluster.files());
        files.retain(|file| file.metadata().is_ok_and(|file| file.len() > 0));
        files
    }
}

/// Status and reason of a condition; empty where there is none.
pub(crate) fn condition(object: &FileJob, kind: &str) -> (String, String) {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let mut of_kind = conditions.filter(|condition| condition.type_ == kind);
    let found = of_kind.next();
    found.map_or_else(Default::default, |found| {
        (found.status.clone(), found.reason.clone())
    })
}

/// The phase that its status shows.
pub(crate) fn phase(object: &FileJob) -> Option<Phase> {
    object.status.as_ref().and_then(|status| status.phase)
}

/// The id of an object's job.
pub(crate) fn job_id(object: &FileJob) -> String {
    let status = object.status.as_ref().unwrap();
    status.job_id.clone().unwrap()
}
