//! What the one container of a node may be, and what is mounted into it.

use crate::{
    knative::{CPU, MEMORY, NAME},
    shape::{
        Need::{May, Must},
        Shape::{self, Choice, Fields, List, OneOf, Only, Spelt, Text, Truth, Whole},
    },
};

/// Variables that Knative sets.
const RESERVED_VARIABLES: [&str; 4] = ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"];

/// Where nothing may be mounted.
const RESERVED_PATHS: [&str; 6] = ["/", "/dev", "/dev/log", "/tmp", "/var", "/var/log"];
pub(super) const CONTAINER: Shape = Fields(&[
    ("name", May, NAME),
    ("image", Must, Text),
    (
        "imagePullPolicy",
        May,
        OneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    ("command", May, List(0, 64, &Text)),
    ("args", May, List(0, 64, &Text)),
    (
        "ports",
        Must,
        List(
            1,
            1,
            &Fields(&[
                ("name", May, OneOf(&["", "http1", "h2c"])),
                ("containerPort", Must, Whole(1, 65535)),
            ]),
        ),
    ),
    ("env", May, List(0, 64, &VARIABLE)),
    // No liveness probe: it could kill a node that is busy.
    ("readinessProbe", Must, PROBE),
    (
        "resources",
        Must,
        Fields(&[("requests", Must, AMOUNTS), ("limits", Must, AMOUNTS)]),
    ),
    ("securityContext", Must, SECURITY),
    (
        "volumeMounts",
        May,
        List(
            0,
            8,
            &Fields(&[
                ("name", Must, NAME),
                (
                    "mountPath",
                    Must,
                    Spelt("a path of one's own", |path| {
                        path.starts_with('/') && !RESERVED_PATHS.contains(&path)
                    }),
                ),
                ("readOnly", Must, Only(true)),
            ]),
        ),
    ),
]);

const VARIABLE: Shape = Fields(&[
    (
        "name",
        Must,
        Spelt("a variable that Knative does not set", |name| {
            !RESERVED_VARIABLES.contains(&name)
        }),
    ),
    ("value", May, Text),
    // No fieldRef and no resourceFieldRef: they need a flag.
    (
        "valueFrom",
        May,
        Choice(&[("secretKeyRef", KEY), ("configMapKeyRef", KEY)]),
    ),
]);

const KEY: Shape = Fields(&[
    ("name", Must, NAME),
    ("key", Must, Text),
    ("optional", May, Truth),
]);

const PROBE: Shape = Fields(&[
    (
        "httpGet",
        Must,
        Fields(&[("path", Must, Text), ("port", May, Whole(1, 65535))]),
    ),
    ("initialDelaySeconds", May, Whole(0, 3600)),
    ("periodSeconds", May, Whole(0, 3600)),
    ("timeoutSeconds", May, Whole(1, 3600)),
    ("successThreshold", May, Whole(1, 100)),
    ("failureThreshold", May, Whole(1, 100)),
]);

const AMOUNTS: Shape = Fields(&[
    ("cpu", May, CPU),
    ("memory", Must, MEMORY),
    ("ephemeral-storage", May, MEMORY),
]);

/// Whatever else it would take, the restricted profile of Pod Security needs all of this.
const SECURITY: Shape = Fields(&[
    ("runAsNonRoot", Must, Only(true)),
    ("runAsUser", May, Whole(1, 65535)),
    ("runAsGroup", May, Whole(1, 65535)),
    ("allowPrivilegeEscalation", Must, Only(false)),
    ("readOnlyRootFilesystem", Must, Only(true)),
    (
        "capabilities",
        Must,
        Fields(&[("drop", Must, List(1, 1, &OneOf(&["ALL"])))]),
    ),
    (
        "seccompProfile",
        Must,
        Fields(&[("type", Must, OneOf(&["RuntimeDefault"]))]),
    ),
]);

pub(super) const VOLUME: Shape = Fields(&[
    ("name", Must, NAME),
    (
        "secret",
        May,
        Fields(&[
            ("secretName", Must, NAME),
            ("optional", May, Truth),
            ("items", May, ITEMS),
        ]),
    ),
    (
        "projected",
        May,
        Fields(&[(
            "sources",
            Must,
            List(
                1,
                8,
                &Choice(&[("secret", PROJECTION), ("configMap", PROJECTION)]),
            ),
        )]),
    ),
]);

const PROJECTION: Shape = Fields(&[
    ("name", Must, NAME),
    ("optional", May, Truth),
    ("items", May, ITEMS),
]);

const ITEMS: Shape = List(1, 8, &Fields(&[("key", Must, Text), ("path", Must, Text)]));
