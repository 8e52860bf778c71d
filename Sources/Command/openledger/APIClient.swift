// The node's HTTP API (Protocol/api.md) over the Unix socket in the home. What the peer says is carried, not judged.

import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Primitives

struct APIClient: Sendable {
    static let answerBytesMax = 32 << 20
    static let lineBytesMax = 4 << 20
    static let answerSeconds: Int64 = 120
    /// Imports, pulls and answers take as long as they take; a day is a bug.
    static let streamSeconds: Int64 = 24 * 3600

    let http: HTTPClient
    let socketPath: String

    /// A path of `/api/v1/`, each component escaped.
    static func path(_ components: String...) -> String {
        var allowed = CharacterSet.urlPathAllowed
        allowed.remove(charactersIn: "/?#;")
        return components.map { $0.addingPercentEncoding(withAllowedCharacters: allowed) ?? "-" }.joined(separator: "/")
    }

    func get(_ path: String, _ query: KeyValuePairs<String, String?> = [:]) async throws -> JSONValue {
        try await exchange(.GET, path, query)
    }

    func post(_ path: String, _ body: JSONValue = .members([])) async throws -> JSONValue {
        try await exchange(.POST, path, [:], Content(type: "application/json", bytes: body.serialized()))
    }

    func delete(_ path: String) async throws -> JSONValue { try await exchange(.DELETE, path, [:]) }

    func upload(
        _ path: String, _ query: KeyValuePairs<String, String?>, type: String, _ bytes: [UInt8]
    ) async throws -> JSONValue {
        try await exchange(.POST, path, query, Content(type: type, bytes: bytes))
    }

    /// A file.
    func download(_ path: String, _ query: KeyValuePairs<String, String?> = [:]) async throws -> [UInt8] {
        let response = try await send(.GET, path, query, nil, seconds: Self.answerSeconds)
        return try await collect(response)
    }

    /// An NDJSON stream; ends with `done`, or throws what its `error` line says.
    func stream(_ path: String, _ body: JSONValue, _ each: (JSONValue) throws -> Void) async throws {
        let content = Content(type: "application/json", bytes: body.serialized())
        let response = try await send(.POST, path, [:], content, seconds: Self.streamSeconds)
        var finished = false
        try await lines(response) { bytes in
            let value = try parse(bytes)
            if value["event"]?.text == "error" {
                throw CommandFault(
                    api: value["error"] ?? .null, requestID: response.headers.first(name: "x-request-id"))
            }
            finished = value["event"]?.text == "done"
            try each(value)
        }
        guard finished else {
            throw CommandFault(.unreachable, "the peer broke off in the middle of its answer; run the command again")
        }
    }

    /// Rows as they are, a line at a time.
    func rows(_ path: String, _ each: ([UInt8]) throws -> Void) async throws {
        try await lines(try await send(.GET, path, [:], nil, seconds: Self.streamSeconds), each)
    }

    // MARK: One exchange

    struct Content: Sendable {
        let type: String
        let bytes: [UInt8]
    }

    private func exchange(
        _ method: HTTPMethod, _ path: String, _ query: KeyValuePairs<String, String?>, _ content: Content? = nil
    ) async throws -> JSONValue {
        let response = try await send(method, path, query, content, seconds: Self.answerSeconds)
        return try parse(try await collect(response))
    }

    /// Sends, and throws the fault that the answer's status and body name.
    private func send(
        _ method: HTTPMethod, _ path: String, _ query: KeyValuePairs<String, String?>, _ content: Content?,
        seconds: Int64
    ) async throws -> HTTPClientResponse {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        let pairs = query.compactMap { pair in
            pair.value.flatMap { $0.addingPercentEncoding(withAllowedCharacters: allowed) }.map { "\(pair.key)=\($0)" }
        }
        let uri = "/api/v1/\(path)" + (pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&"))
        guard let url = URL(httpURLWithSocketPath: socketPath, uri: uri) else {
            throw CommandFault(.usage, "\(socketPath) cannot be the path of a socket")
        }
        var request = HTTPClientRequest(url: url.absoluteString)
        request.method = method
        if let content {
            request.headers.add(name: "content-type", value: content.type)
            request.body = .bytes(content.bytes)
        }
        let response: HTTPClientResponse
        do {
            response = try await http.execute(request, timeout: .seconds(seconds))
        } catch {
            throw CommandFault(
                .unreachable, "the peer at \(socketPath) does not answer (\(error)); look at: openledger doctor")
        }
        guard response.status.code < 400 else {
            let requestID = response.headers.first(name: "x-request-id")
            let body = try await collect(response)
            if let error = (try? JSONValue.parse(body))?["error"] {
                throw CommandFault(api: error, requestID: requestID)
            }
            throw CommandFault(.failed, "the peer answered \(response.status.code) without saying why")
        }
        return response
    }

    private func collect(_ response: HTTPClientResponse) async throws -> [UInt8] {
        do {
            return [UInt8](try await response.body.collect(upTo: Self.answerBytesMax).readableBytesView)
        } catch {
            throw CommandFault(.unreachable, "the peer's answer broke off (\(error))")
        }
    }

    private func lines(_ response: HTTPClientResponse, _ each: ([UInt8]) throws -> Void) async throws {
        var pending: [UInt8] = []
        do {
            for try await buffer in response.body {
                for part in buffer.readableBytesView.split(separator: 0x0a, omittingEmptySubsequences: false)
                    .enumerated()
                {
                    if part.offset > 0 {
                        let line = pending
                        pending.removeAll(keepingCapacity: true)
                        if !line.isEmpty { try each(line) }
                    }
                    pending += part.element
                    guard pending.count <= Self.lineBytesMax else {
                        throw CommandFault(.failed, "the peer sent a line of more than \(Self.lineBytesMax) bytes")
                    }
                }
            }
        } catch let fault as CommandFault {
            throw fault
        } catch {
            throw CommandFault(.unreachable, "the peer's answer broke off (\(error))")
        }
        if !pending.isEmpty { try each(pending) }
    }

    private func parse(_ bytes: [UInt8]) throws -> JSONValue {
        do {
            return try JSONValue.parse(bytes, limits: JSONLimits(bytesMax: Self.answerBytesMax))
        } catch {
            throw CommandFault(.failed, "the peer's answer is not JSON (\(error))")
        }
    }
}
