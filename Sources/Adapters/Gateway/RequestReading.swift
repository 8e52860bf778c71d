// Bodies, queries and paths, each within its limit, before anything looks at them.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

extension Request {
    /// Collects the body, which then counts as read: a handler may still watch for the client's departure.
    mutating func bytes(upTo bytesMax: Int) async throws(NodeFault) -> [UInt8] {
        let tooLarge = NodeFault(
            .tooLarge, "the body may have \(bytesMax) bytes", code: "body_too_large")
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > bytesMax { throw tooLarge }
        do {
            var buffer = try await collectBody(upTo: bytesMax)
            return buffer.readBytes(length: buffer.readableBytes) ?? []
        } catch is NIOTooManyBytesError {
            throw tooLarge
        } catch {
            throw NodeFault(.invalid, "the body ended early", code: "body_incomplete")
        }
    }

    private func requireContentType(_ expected: [String]) throws(NodeFault) {
        let type = (headers[.contentType] ?? "").prefix { $0 != ";" }.lowercased().filter { $0 != " " }
        guard expected.contains(type) else {
            throw NodeFault(
                .contentType, "the body needs the header Content-Type: \(expected.joined(separator: " or "))",
                code: "content_type")
        }
    }

    /// A JSON object; an empty body counts as `{}` where `isOptional`.
    mutating func json(_ limits: GatewayLimits, isOptional: Bool = false) async throws(NodeFault) -> RequestFields {
        let bytes: [UInt8]
        if isOptional, headers[.contentType] == nil {
            bytes = try await self.bytes(upTo: limits.strayBytesMax)
            if bytes.isEmpty { return try RequestFields(.object([:])) }
        }
        try requireContentType(["application/json"])
        let body = try await self.bytes(upTo: limits.jsonBytesMax)
        do {
            return try RequestFields(
                JSONValue.parse(
                    body, limits: JSONLimits(bytesMax: limits.jsonBytesMax, depthMax: 32, valuesMax: 200_000)))
        } catch let fault as JSONFault {
            throw NodeFault(.invalid, "the body is not JSON: \(fault)", code: "invalid_json")
        } catch let fault as NodeFault {
            throw fault
        } catch {
            throw NodeFault(.invalid, "the body is not JSON", code: "invalid_json")
        }
    }

    mutating func rows(_ limits: GatewayLimits) async throws(NodeFault) -> RowsUpload {
        // Not text/plain, which a page of another site may send without asking.
        try requireContentType([
            "application/x-ndjson", "application/jsonl", "text/csv", "text/markdown", "application/pdf",
            "application/octet-stream",
        ])
        let file = try queryText("file", bytesMax: 256) ?? "rows.jsonl"
        let license = try queryText("license", bytesMax: 256)
        return RowsUpload(file: file, bytes: try await bytes(upTo: limits.rowsBytesMax), license: license)
    }

    mutating func bundle(_ limits: GatewayLimits) async throws(NodeFault) -> [UInt8] {
        try requireContentType(["application/vnd.ipld.dag-cbor", "application/octet-stream"])
        let bytes = try await bytes(upTo: limits.bundleBytesMax)
        guard !bytes.isEmpty else {
            throw NodeFault(.invalid, "the body is empty; send the bundle", code: "not_a_bundle")
        }
        return bytes
    }

    func queryText(_ key: String, bytesMax: Int) throws(NodeFault) -> String? {
        guard let value = uri.queryParameters[key[...]].map(String.init), !value.isEmpty else { return nil }
        guard value.utf8.count <= bytesMax else {
            throw NodeFault(.invalid, "\(key) may have \(bytesMax) bytes", param: key, code: "too_long")
        }
        return value
    }

    func page() throws(NodeFault) -> ListPage {
        var page = ListPage(cursor: try queryText("cursor", bytesMax: 256))
        if let text = try queryText("limit", bytesMax: 16) {
            guard let limit = Int(text), (1...200).contains(limit) else {
                throw NodeFault(.invalid, "limit must be between 1 and 200", param: "limit", code: "out_of_range")
            }
            page.limit = limit
        }
        return page
    }
}

extension GatewayContext {
    /// A part of the path, decoded.
    func name(_ key: String) throws(NodeFault) -> String {
        guard let raw = parameters.get(key), let name = percentDecoded(raw), !name.isEmpty,
            name.utf8.count <= 512
        else { throw NodeFault(.missing, "no such route", code: "not_found") }
        return name
    }
}

/// RFC 3986 percent-decoding of a path segment.
/// - Returns: nil on a broken escape, a byte below space or text that is not UTF-8.
func percentDecoded(_ text: String) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard let decoded = Hex.decode(String(decoding: rest.prefix(2), as: UTF8.self)), decoded.count == 1 else {
            return nil
        }
        bytes += decoded
        rest = rest.dropFirst(2)
    }
    guard bytes.allSatisfy({ $0 >= 0x20 }) else { return nil }
    return String(validating: bytes, as: UTF8.self)
}
