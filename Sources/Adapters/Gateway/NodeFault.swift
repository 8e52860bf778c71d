// What can go wrong with a request, in the words of Protocol/api.md section 1: the node names the fault, the gateway
// turns its kind into a status, a type and headers in one place (`FaultResponses.swift`).

/// One fault in someone's rows: which file, line and field, and what to do about it.
package struct RowFault: Sendable, Hashable {
    package var file: String
    /// 1 for the first line.
    package var line: Int
    package var field: String?
    /// A stable word, as in `missing`, `too_long`, `duplicate`.
    package var reason: String
    package var message: String

    package init(file: String, line: Int, field: String?, reason: String, message: String) {
        self.file = file
        self.line = line
        self.field = field
        self.reason = reason
        self.message = message
    }
}

/// The one error that the node answers the gateway with.
package struct NodeFault: Error, Sendable, Hashable {
    /// Decides the HTTP status and the command's exit code.
    package enum Kind: Sendable, Hashable, CaseIterable {
        /// 400: a field is wrong or not supported.
        case invalid
        /// 401: a credential is missing or wrong.
        case unauthenticated
        /// 402: the payer cannot cover it.
        case balance
        /// 403: known, and not allowed.
        case forbidden
        /// 404
        case missing
        /// 409: a name is taken, or the thing is in use.
        case conflict
        /// 413
        case tooLarge
        /// 415
        case contentType
        /// 422: rows or a bundle that fail their checks; nothing was written.
        case unverified
        /// 429: a queue is full or a rate is exceeded.
        case busy
        /// 500: our own fault.
        case broken
        /// 501: named by the interface and not built.
        case unsupported
        /// 503: not synced, nobody reachable, draining.
        case unavailable
        /// 504: a neighbour did not answer in time.
        case timeout
    }

    package var kind: Kind
    /// For people: what was wrong, where, and what to do.
    package var message: String
    /// The request's field, as in `messages[0].role`.
    package var param: String?
    /// A stable word for programs.
    package var code: String?
    package var retryAfterSeconds: Int?
    package var rows: [RowFault]
    /// How far the caller's rates are used, where it has some.
    package var rate: RateNote?

    package init(
        _ kind: Kind, _ message: String, param: String? = nil, code: String? = nil, retryAfterSeconds: Int? = nil,
        rows: [RowFault] = [], rate: RateNote? = nil
    ) {
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retryAfterSeconds = retryAfterSeconds
        self.rows = rows
        self.rate = rate
    }

    /// The answer that makes a client fetch the home token: the request would spend or change something.
    package static func tokenRequired(_ message: String) -> NodeFault {
        NodeFault(.unauthenticated, message, code: "token_required")
    }
}
