// Brings everything under a root here: a UnixFS file, a single raw block, or a dag-cbor manifest whose links are files or
// further manifests. Pure: what the store has is asked of the owner, what it lacks is wanted from neighbours.
//
//   link ── look ──▶ present/bytes ──────────────────────────────▶ here
//              └───▶ absent ── want ──▶ block ── store ──▶ here    │
//                                                                   ├ leaf: place
//                                                                   └ node: its links are next, in order
//
// Links wait on a stack, so the walk goes through a file from front to back and memory is bounded by one node a level;
// at most `lookAhead` blocks are on their way at a time. A block that occurs often is fetched once and placed often.

package import Primitives

package struct FetchParameters: Sendable {
    /// Blocks looked for or wanted at a time.
    package var lookAhead = 32
    /// Levels of nodes under the root: 1,024 links a node reach 2^60 bytes in 4.
    package var depthMax = 32
    /// Links followed in all, and in one call of `handle`.
    package var visitsMax = 1 << 21
    package var visitsPerCallMax = 4_096
    package var filesMax = 65_536
    package var bytesMax: UInt64 = 1 << 42
    /// Keys of dag-cbor maps whose links are not content (`previous`, say).
    package var keysNotFollowed: Set<String> = []
    package var cbor = CBORLimits(bytesMax: 2 << 20)

    package init() {}
}

package struct Fetch: Sendable {
    private struct Link: Sendable {
        let cid: CID
        /// Nil above the files.
        let position: FilePosition?
        /// Bytes of the file under it, if a node has said so.
        let size: UInt64?
        let depth: Int
    }

    private enum State: Sendable { case new, running, over }

    package let root: CID
    private let parameters: FetchParameters
    private var state = State.new
    private var stack: [Link] = []
    /// Being looked for or wanted, with every link that waits for it.
    private var open: [CID: [Link]] = [:]
    private var isWanted: Set<CID> = []
    /// Leaves that are here, and their length.
    private var leaves: [CID: UInt64] = [:]
    /// Every block that is here. A node that occurs again is read again, from the store.
    private var known: Set<CID> = []
    private var visits = 0
    private var filesSeen = 0
    private var effects: [FetchEffect] = []
    package private(set) var progress = FetchProgress()

    package init(root: CID, parameters: FetchParameters = FetchParameters()) {
        self.root = root
        self.parameters = parameters
    }

    package var isOver: Bool { state == .over }
    /// What is wanted from neighbours at this moment; for a session that starts anew after a crash or a new provider.
    package var wanted: [CID] { isWanted.sorted() }

    package mutating func handle(_ event: FetchEvent) -> [FetchEffect] {
        let before = progress
        do throws(FetchFault) {
            switch event {
            case .start:
                guard state == .new else { break }
                state = .running
                let isFile = root.codec != .dagCBOR
                if isFile { filesSeen = 1 }
                let position = isFile ? FilePosition(file: 0, offset: 0) : nil
                stack = [Link(cid: root, position: position, size: nil, depth: 0)]
            case .local(let cid, let local): try look(cid, local)
            case .block(let block): try arrived(block)
            case .proceed: break
            }
            try advance()
        } catch {
            fail(error)
        }
        if state == .running, progress != before { effects.append(.progress(progress)) }
        if state == .running, stack.isEmpty, open.isEmpty {
            state = .over
            effects.append(.done(progress))
        }
        defer { effects = [] }
        return effects
    }

    // MARK: Blocks that come

    private mutating func look(_ cid: CID, _ local: LocalBlock) throws(FetchFault) {
        guard state == .running, let links = open[cid], !isWanted.contains(cid) else { return }
        switch local {
        case .present where cid.codec == .raw && links.allSatisfy({ $0.size != nil }):
            try arrived(cid, nil, wasHere: true)
        case .bytes(let bytes):
            guard let block = Block(cid, verifying: bytes) else { return want(cid) }
            try arrived(cid, block.bytes, wasHere: true)
        case .present, .absent:
            want(cid)
        }
    }

    private mutating func want(_ cid: CID) {
        isWanted.insert(cid)
        if case .want(let list) = effects.last {
            effects[effects.count - 1] = .want(list + [cid])
        } else {
            effects.append(.want([cid]))
        }
    }

    private mutating func arrived(_ block: Block) throws(FetchFault) {
        guard state == .running, open[block.cid] != nil else { return }
        effects.append(.store(block))
        try arrived(block.cid, block.bytes, wasHere: false)
    }

    private mutating func arrived(_ cid: CID, _ bytes: [UInt8]?, wasHere: Bool) throws(FetchFault) {
        guard let links = open.removeValue(forKey: cid) else { return }
        isWanted.remove(cid)
        if known.insert(cid).inserted {
            progress.blocks += 1
            if wasHere { progress.blocksFoundHere += 1 }
        }
        switch cid.codec {
        case .raw:
            let length = bytes.map { UInt64($0.count) } ?? links.first?.size ?? 0
            leaves[cid] = length
            for link in links { try place(link, length, bytes) }
        case .dagPB, .dagCBOR:
            guard let bytes else { return }
            for link in links.reversed() { try expand(link, bytes) }
        }
    }

    private mutating func place(_ link: Link, _ length: UInt64, _ bytes: [UInt8]?) throws(FetchFault) {
        if let size = link.size, size != length { throw .wrongSize(link.cid, expected: size, got: length) }
        guard let position = link.position else { return }
        if link.size == nil { try know(length) }
        progress.bytes += length
        effects.append(.place(link.cid, at: position, length: length, bytes: bytes))
    }

    private mutating func know(_ bytes: UInt64) throws(FetchFault) {
        let (sum, overflow) = progress.bytesKnown.addingReportingOverflow(bytes)
        guard !overflow else { throw .sizeOverflow }
        guard sum <= parameters.bytesMax else { throw .tooManyBytes(sum, max: parameters.bytesMax) }
        progress.bytesKnown = sum
        progress.files += 1
    }

    // MARK: Nodes

    private mutating func expand(_ link: Link, _ bytes: [UInt8]) throws(FetchFault) {
        guard link.depth < parameters.depthMax else { throw .tooDeep(link.cid) }
        if link.cid.codec == .dagPB {
            try expandFile(link, bytes)
        } else {
            try expandManifest(link, bytes)
        }
    }

    private mutating func expandFile(_ link: Link, _ bytes: [UInt8]) throws(FetchFault) {
        let node: FileNode
        do throws(NodeFault) {
            node = try FileNode(decoding: bytes)
        } catch {
            throw .malformedNode(link.cid, error)
        }
        if let size = link.size, size != node.size {
            throw .wrongSize(link.cid, expected: size, got: node.size)
        }
        guard let start = link.position else { return }
        if link.size == nil { try know(node.size) }
        // The sizes were added up, and compared with what the file may have, when the node was read: no overflow here.
        if !node.inlineData.isEmpty {
            let length = UInt64(node.inlineData.count)
            progress.bytes += length
            effects.append(.place(link.cid, at: start, length: length, bytes: node.inlineData))
        }
        var offset = start.offset + UInt64(node.inlineData.count)
        var next: [Link] = []
        for part in node.parts {
            next.append(
                Link(
                    cid: part.cid, position: FilePosition(file: start.file, offset: offset), size: part.size,
                    depth: link.depth + 1))
            offset += part.size
        }
        stack += next.reversed()
    }

    private mutating func expandManifest(_ link: Link, _ bytes: [UInt8]) throws(FetchFault) {
        let value: CBOR
        do throws(CBORFault) {
            value = try CBOR.decode(bytes, limits: parameters.cbor)
        } catch {
            throw .malformedNode(link.cid, .notDagCBOR(error))
        }
        var next: [Link] = []
        for cid in links(in: value) {
            let isFile = cid.codec != .dagCBOR
            let position = isFile ? FilePosition(file: filesSeen, offset: 0) : nil
            if isFile { filesSeen += 1 }
            guard filesSeen <= parameters.filesMax else { throw .tooManyFiles(max: parameters.filesMax) }
            next.append(Link(cid: cid, position: position, size: nil, depth: link.depth + 1))
        }
        stack += next.reversed()
    }

    /// In the order of the encoding. The decoder has bounded depth and number.
    private func links(in value: CBOR) -> [CID] {
        switch value {
        case .link(let cid): [cid]
        case .array(let items): items.flatMap { links(in: $0) }
        case .entries(let entries):
            entries.flatMap { parameters.keysNotFollowed.contains($0.key) ? [] : links(in: $0.value) }
        default: []
        }
    }

    // MARK: The walk

    private mutating func advance() throws(FetchFault) {
        guard state == .running else { return }
        let visitsBefore = visits
        while open.count < parameters.lookAhead, !stack.isEmpty {
            // Long runs of one block would otherwise be placed in one call.
            guard visits - visitsBefore < parameters.visitsPerCallMax else { return effects.append(.unfinished) }
            let link = stack.removeLast()
            visits += 1
            guard visits <= parameters.visitsMax else { throw .tooManyBlocks(max: parameters.visitsMax) }
            if let length = leaves[link.cid] {
                try place(link, length, nil)
            } else if open[link.cid] != nil {
                open[link.cid]?.append(link)
            } else {
                open[link.cid] = [link]
                let needsBytes = link.cid.codec != .raw || link.size == nil
                effects.append(.look(link.cid, needsBytes: needsBytes))
            }
        }
    }

    private mutating func fail(_ fault: FetchFault) {
        state = .over
        stack = []
        open = [:]
        isWanted = []
        effects = effects.filter { effect in
            if case .want = effect { return false }
            return true
        }
        effects.append(.failed(fault))
    }
}
