// What every request passes before its handler, outermost first:
//
//     answer faults ▸ own name and origin ▸ room for one more ▸ who asks ▸ (a route's own) may they
//
// A page of another site can make a browser send requests here, and cannot make it leave out Origin or choose Host:
// that is what the second guard looks at. There is no CORS answer to any of them.

import HTTPTypes
import Hummingbird
import Logging
import Metrics
import NIOCore
import Primitives
import Synchronization

extension HTTPField.Name {
    static let requestID = HTTPField.Name("X-Request-Id")!
    static let receiptID = HTTPField.Name("X-Receipt-Id")!
    static let fetchSite = HTTPField.Name("Sec-Fetch-Site")!
    static let fetchMode = HTTPField.Name("Sec-Fetch-Mode")!
    static let hostField = HTTPField.Name("Host")!
    static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
}

/// Turns every error into the answer that Protocol/api.md describes, and counts.
struct FaultGuard: RouterMiddleware {
    typealias Context = GatewayContext

    let registry: PrometheusRegistry
    let allowed: AllowedMethods

    func handle(
        _ request: Request, context: GatewayContext, next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        var response: Response
        do {
            response = try await next(request, context)
        } catch let fault as NodeFault {
            if fault.kind == .broken {
                context.logger.error(
                    "request failed", metadata: ["fault": "\(fault.message)", "path": "\(request.uri.path)"])
            }
            response = fault.response(path: request.uri.path)
        } catch let error as any HTTPResponseError {
            response = answer(error.status, to: request)
        } catch is CancellationError {
            response = NodeFault(.unavailable, "the peer is shutting down", code: "draining").response()
        } catch {
            context.logger.error("request failed", metadata: ["error": "\(error)", "path": "\(request.uri.path)"])
            response = NodeFault(.broken, "something went wrong here; the log names it", code: "internal").response()
        }
        response.headers[.requestID] = context.id
        response.headers[.xContentTypeOptions] = "nosniff"
        response.headers[.referrerPolicy] = "no-referrer"
        let route = context.endpointPath ?? "none"
        Counter(
            label: "openledger_http_requests", dimensions: [("route", route), ("status", "\(response.status.code)")],
            factory: registry
        ).increment()
        let passed = (ContinuousClock.now - start).components
        Timer(label: "openledger_http_handler", dimensions: [("route", route)], factory: registry)
            .recordNanoseconds(passed.seconds * 1_000_000_000 + passed.attoseconds / 1_000_000_000)
        return response
    }

    /// What the router and its decoders refuse, in our words.
    private func answer(_ status: HTTPResponse.Status, to request: Request) -> Response {
        let path = request.uri.path
        guard status == .notFound, let methods = allowed.allow(path, besides: request.method) else {
            return Self.fault(for: status, path: path).response()
        }
        let fault = NodeFault(
            .invalid, "\(path.prefix(200)) takes \(methods), not \(request.method.rawValue.prefix(20))",
            code: "method_not_allowed")
        var response = fault.response()
        response.status = .methodNotAllowed
        response.headers[.allow] = methods
        return response
    }

    private static func fault(for status: HTTPResponse.Status, path: String) -> NodeFault {
        switch status.code {
        case 404:
            NodeFault(.missing, "no such route: \(path.prefix(200)); Protocol/api.md lists them", code: "no_route")
        case 413: NodeFault(.tooLarge, "the body is too large", code: "body_too_large")
        case 400..<500: NodeFault(.invalid, "the request is malformed", code: "malformed")
        default: NodeFault(.broken, "something went wrong here; the log names it", code: "internal")
        }
    }
}

/// The peer's own names, with ports: `127.0.0.1:8547`. Known only once the port is bound.
final class HostNames: Sendable {
    private let names = Mutex<Set<String>>([])

    func set(_ hosts: Set<String>) { names.withLock { $0 = hosts } }
    func contains(_ host: String) -> Bool { names.withLock { $0.contains(host) } }
}

struct OriginGuard: RouterMiddleware {
    typealias Context = GatewayContext

    let names: HostNames
    let limits: GatewayLimits

    func handle(
        _ request: Request, context: GatewayContext, next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        try checkTarget(request)
        if !context.isOwnersSocket { try check(request) }
        return try await next(request, context)
    }

    private func checkTarget(_ request: Request) throws(NodeFault) {
        guard request.uri.string.utf8.count <= limits.pathBytesMax else {
            throw NodeFault(.tooLarge, "the path may have \(limits.pathBytesMax) bytes", code: "path_too_long")
        }
        let query = request.uri.query ?? ""
        guard !Secret.Kind.allCases.contains(where: { query.contains($0.rawValue) }) else {
            throw NodeFault(
                .invalid, "a token or key does not belong in a URL, where logs keep it; send Authorization: Bearer",
                code: "token_in_query")
        }
    }

    private func check(_ request: Request) throws(NodeFault) {
        // The first Host field became the authority; another one is a smuggling attempt.
        guard request.headers[.hostField] == nil, let host = request.head.authority?.lowercased() else {
            throw NodeFault(.invalid, "exactly one Host header is needed", code: "host_missing")
        }
        guard names.contains(host) else {
            throw NodeFault(
                .forbidden,
                "this peer does not answer to the name \(host.prefix(100)); add it to http.hosts if it should",
                code: "host_not_allowed")
        }
        let foreign = NodeFault(
            .forbidden, "this request comes from a page of another site, which may not use this peer",
            code: "origin_not_allowed")
        for origin in request.headers[values: .origin] {
            guard let scheme = origin.lowercased().firstRange(of: "http://"), scheme.lowerBound == origin.startIndex,
                names.contains(String(origin.lowercased().dropFirst(7)))
            else { throw foreign }
        }
        if let site = request.headers[.fetchSite], site != "same-origin", site != "none" {
            let isPageLoad = request.headers[.fetchMode] == "navigate" && request.method == .get
            guard isPageLoad else { throw foreign }
        }
    }
}

/// Counts what is being answered; full is an answer.
final class Admission: Sendable {
    private let taken = Mutex(0)
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    /// Gives its place back when nothing refers to it any more, however the request ended.
    final class Ticket: Sendable {
        private let admission: Admission
        init(_ admission: Admission) { self.admission = admission }
        deinit { admission.taken.withLock { $0 -= 1 } }
    }

    func ticket() throws(NodeFault) -> Ticket {
        let isAdmitted = taken.withLock { taken in
            guard taken < countMax else { return false }
            taken += 1
            return true
        }
        guard isAdmitted else {
            throw NodeFault(.unavailable, "\(countMax) requests are being answered already", code: "too_many_requests")
        }
        return Ticket(self)
    }
}

struct AdmissionGuard: RouterMiddleware {
    typealias Context = GatewayContext

    let admission: Admission

    func handle(
        _ request: Request, context: GatewayContext, next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let ticket = try admission.ticket()
        let response = try await next(request, context)
        return response.body.contentLength == nil ? response.holding(ticket) : response
    }
}

extension Response {
    /// Keeps `ticket` until the streamed body is written or given up.
    func holding(_ ticket: Admission.Ticket) -> Response {
        let body = body
        return Response(
            status: status, headers: headers,
            body: ResponseBody { writer in
                defer { withExtendedLifetime(ticket) {} }
                try await body.write(writer)
            })
    }
}

struct AuthorityGuard: RouterMiddleware {
    typealias Context = GatewayContext

    let doorkeeper: Doorkeeper

    func handle(
        _ request: Request, context: GatewayContext, next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        if context.isOwnersSocket {
            context.authority = .home
        } else if let authority = doorkeeper.authority(bearer: request.bearer) {
            context.authority = authority
        } else {
            throw NodeFault(
                .unauthenticated, "this token or key is not, or no longer, valid; `openledger open` prints a new link",
                code: "invalid_token")
        }
        return try await next(request, context)
    }
}

extension Request {
    var bearer: String? {
        guard let field = headers[.authorization], field.lowercased().hasPrefix("bearer ") else { return nil }
        return String(field.dropFirst(7).drop { $0 == " " })
    }
}

/// The second column of Protocol/api.md section 2.
struct AccessGuard: RouterMiddleware {
    typealias Context = GatewayContext

    enum Access: Sendable {
        /// Anyone on this machine; elsewhere a key or token.
        case machine
        /// The home token, a session, or the Unix socket.
        case owner
    }

    let access: Access
    let isLoopback: Bool

    func handle(
        _ request: Request, context: GatewayContext, next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        switch access {
        case .machine:
            guard isLoopback || context.authority != .none else {
                throw NodeFault(
                    .unauthenticated, "an API key is needed: Authorization: Bearer olk_…", code: "api_key_required")
            }
        case .owner:
            guard context.authority.isOwner else {
                throw NodeFault.tokenRequired(
                    "this spends or changes something, so it needs the home's token: Authorization: Bearer $(cat HOME/token)"
                )
            }
        }
        return try await next(request, context)
    }
}
