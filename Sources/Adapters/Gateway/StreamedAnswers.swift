// Answers that come in pieces: server-sent events (WHATWG HTML, section 9.2) and JSON lines. While one is written, the
// connection's other direction is watched: a client that leaves ends the iteration, and with it the work.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

/// Writes the pieces; borrowed from the response for the time of one body.
struct PieceWriter {
    private var writer: any ResponseBodyWriter
    /// Hears every piece, to tell them again.
    var recorder: Replays.Recorder?

    init(_ writer: any ResponseBodyWriter) { self.writer = writer }

    mutating func data(_ value: JSONValue) async throws {
        try await send("data: ".utf8, value.serialized(), "\n\n".utf8)
    }
    mutating func done() async throws { try await send("data: [DONE]\n\n".utf8) }
    mutating func line(_ value: JSONValue) async throws { try await send(value.serialized(), "\n".utf8) }

    mutating func event(_ name: String, _ value: JSONValue, id: Int? = nil) async throws {
        let number = id.map { "id: \($0)\n" } ?? ""
        try await send("\(number)event: \(name)\ndata: ".utf8, value.serialized(), "\n\n".utf8)
    }

    mutating func bytes(_ bytes: [UInt8]) async throws { try await writer.write(ByteBuffer(bytes: bytes)) }

    private mutating func send(_ parts: any Sequence<UInt8>...) async throws {
        var buffer = ByteBuffer()
        for part in parts { buffer.writeBytes(Array(part)) }
        recorder?.add(Array(buffer.readableBytesView))
        try await writer.write(buffer)
    }
}

extension Response {
    /// - Parameter write: writes the pieces and returns the trailer fields, if any. A `NodeFault` it throws goes to
    ///   `onFault`, which may still write; anything else ends the connection.
    static func pieces(
        type: String, request: Request, headers extra: HTTPFields = [:],
        onFault: @escaping @Sendable (inout PieceWriter, NodeFault) async throws -> Void,
        write: @escaping @Sendable (inout PieceWriter) async throws -> HTTPFields?
    ) -> Response {
        var headers: HTTPFields = [.contentType: type, .cacheControl: "no-store", .connection: "close"]
        headers.append(contentsOf: extra)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                let trailer = try await request.body.consumeWithCancellationOnInboundClose { [writer] _ in
                    var pieces = PieceWriter(writer)
                    do {
                        return try await write(&pieces)
                    } catch let fault as NodeFault {
                        try await onFault(&pieces, fault)
                        return nil
                    }
                }
                try await writer.finish(trailer)
            })
    }

    /// JSON lines; a fault is the last line.
    static func lines(
        request: Request, write: @escaping @Sendable (inout PieceWriter) async throws -> HTTPFields?
    ) -> Response {
        pieces(type: "application/x-ndjson", request: request) { pieces, fault in
            let members = [JSONMember("event", .string("error"))] + (fault.json(faultsShownMax: 100).memberList ?? [])
            try await pieces.line(.members(members))
        } write: {
            try await write(&$0)
        }
    }
}
