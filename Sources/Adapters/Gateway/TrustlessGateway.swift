// `/ipfs/{cid}`: the trustless gateway (specs.ipfs.tech/http-gateways/trustless-gateway), raw blocks and CAR v1
// (ipld.io/specs/transport/car/carv1). Whoever fetches verifies: the name of a block is the hash of its bytes.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

struct TrustlessGateway: Sendable {
    static let blockType = "application/vnd.ipld.raw"
    static let carType = "application/vnd.ipld.car"

    let service: any NodeService
    let limits: GatewayLimits

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("ipfs/:cid") { request, context in try await answer(request, context) }
        group.head("ipfs/:cid") { request, context in try await answer(request, context).createHeadResponse() }
        group.get("ipfs/:cid/**") { _, _ -> Response in
            throw NodeFault(
                .unsupported, "paths are not resolved here; fetch /ipfs/{cid}?format=car and resolve them yourself",
                code: "path_not_resolved")
        }
    }

    private func answer(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let cid: CID
        do {
            cid = try CID(text: context.name("cid"))
        } catch let fault as CIDFault {
            throw NodeFault(.invalid, "not a CID of this network: \(fault)", param: "cid", code: "invalid_cid")
        }
        let wantsCAR = try wantsCAR(request)
        let tag = "\"\(cid.text).\(wantsCAR ? "car" : "raw")\""
        let headers: HTTPFields = [
            .eTag: tag, .cacheControl: "public, max-age=29030400, immutable",
            .contentDisposition: "attachment; filename=\"\(cid.text).\(wantsCAR ? "car" : "bin")\"",
        ]
        if request.headers[.ifNoneMatch] == tag { return Response(status: .notModified, headers: headers) }
        var response = wantsCAR ? try await car(cid, request) : try await block(cid)
        response.headers.append(contentsOf: headers)
        return response
    }

    private func wantsCAR(_ request: Request) throws(NodeFault) -> Bool {
        switch try request.queryText("format", bytesMax: 16) {
        case "car": return true
        case "raw": return false
        case nil: return (request.headers[.accept] ?? "").contains(Self.carType)
        case let other?:
            throw NodeFault(
                .invalid, "format \"\(other)\" is not served; use raw or car", param: "format",
                code: "unsupported_value")
        }
    }

    private func block(_ cid: CID) async throws -> Response {
        guard let bytes = try await service.block(cid) else {
            throw NodeFault(.missing, "this peer does not hold \(cid.text)", code: "block_not_held")
        }
        return Response(
            status: .ok, headers: [.contentType: Self.blockType],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    private func car(_ root: CID, _ request: Request) async throws -> Response {
        guard try await service.block(root) != nil else {
            throw NodeFault(.missing, "this peer does not hold \(root.text)", code: "block_not_held")
        }
        var request = request
        _ = try await request.bytes(upTo: limits.strayBytesMax)
        let blocks = try await service.blocks(below: root, blocksMax: limits.carBlocksMax)
        var response = Response.pieces(type: "\(Self.carType); version=1; order=dfs; dups=n", request: request) {
            _, fault in
            // The head is gone: only a connection that ends without its last chunk says that the file is not whole.
            throw fault
        } write: { pieces in
            try await pieces.bytes(Self.carHeader(root))
            for try await block in blocks { try await pieces.bytes(Self.carSection(block)) }
            return nil
        }
        response.headers[.cacheControl] = nil
        return response
    }

    static func carHeader(_ root: CID) -> [UInt8] {
        let header = CBOR.map(["roots": .array([.link(root)]), "version": .unsigned(1)]).encoded()
        return Varint.encode(UInt64(header.count)) + header
    }

    static func carSection(_ block: Block) -> [UInt8] {
        let cid = block.cid.bytes
        return Varint.encode(UInt64(cid.count + block.bytes.count)) + cid + block.bytes
    }
}
