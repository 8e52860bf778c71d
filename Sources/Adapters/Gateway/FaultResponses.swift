// From a fault to a status, a body and headers: the one place that knows Protocol/api.md's table of errors.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

extension NodeFault.Kind {
    var status: HTTPResponse.Status {
        switch self {
        case .invalid: .badRequest
        case .unauthenticated: .unauthorized
        case .balance: HTTPResponse.Status(code: 402, reasonPhrase: "Payment Required")
        case .forbidden: .forbidden
        case .missing: .notFound
        case .conflict: .conflict
        case .tooLarge: .contentTooLarge
        case .contentType: .unsupportedMediaType
        case .unverified: .unprocessableContent
        case .busy: .tooManyRequests
        case .broken: .internalServerError
        case .unsupported: .notImplemented
        case .unavailable: .serviceUnavailable
        case .timeout: .gatewayTimeout
        }
    }

    var type: String {
        switch self {
        case .invalid, .tooLarge, .contentType: "invalid_request_error"
        case .unauthenticated: "authentication_error"
        case .balance: "insufficient_balance"
        case .forbidden: "permission_error"
        case .missing: "not_found_error"
        case .conflict: "conflict_error"
        case .unverified: "verification_error"
        case .busy: "rate_limit_error"
        case .broken: "internal_error"
        case .unsupported: "not_supported"
        case .unavailable: "unavailable_error"
        case .timeout: "timeout_error"
        }
    }

    /// What a client waits where the node names nothing better; nil where trying again does not help.
    var retryAfterSeconds: Int? {
        switch self {
        case .busy, .unavailable, .timeout: 1
        default: nil
        }
    }
}

extension RowFault {
    var json: JSONValue {
        .object([
            "file": .string(file), "line": .integer(line), "field": field.map(JSONValue.string) ?? .null,
            "reason": .string(reason), "message": .string(message),
        ])
    }
}

extension NodeFault {
    /// `{"error":{…}}`.
    func json(faultsShownMax: Int) -> JSONValue {
        var members = [
            JSONMember("message", .string(message)), JSONMember("type", .string(kind.type)),
            JSONMember("param", param.map(JSONValue.string) ?? .null),
            JSONMember("code", code.map(JSONValue.string) ?? .null),
        ]
        if !rows.isEmpty {
            let shown = JSONValue.array(rows.prefix(faultsShownMax).map(\.json))
            members.append(
                JSONMember("details", .object(["faults": shown, "faults_total": .integer(rows.count)])))
        }
        return .object(["error": .members(members)])
    }

    /// - Parameter path: of the request: some routes' clients want another form.
    func response(faultsShownMax: Int = 100, path: String = "") -> Response {
        let body = OllamaRoutes.paths.contains(path) ? ollamaJSON : json(faultsShownMax: faultsShownMax)
        var response = Response.json(body, status: kind.status)
        if let seconds = retryAfterSeconds ?? kind.retryAfterSeconds { response.headers[.retryAfter] = "\(seconds)" }
        if kind == .unauthenticated { response.headers[.wwwAuthenticate] = "Bearer" }
        if let rate { response.headers.append(contentsOf: rate.headers) }
        return response
    }
}

extension Response {
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok) -> Response {
        bytes(value.serialized(), type: "application/json", status: status)
    }

    static func bytes(_ bytes: [UInt8], type: String, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}
