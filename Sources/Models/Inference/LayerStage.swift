// Layers of a model computed for others: rows of the residual stream in, rows out, by the same kernels in the same order as
// on one machine. Whoever asks decides what its page numbers mean; what is asked is checked before anything is written.

package import Arithmetic
import Kernels
package import Records

package enum LayerFault: Error, Hashable, Sendable, CustomStringConvertible {
    case layers(Range<Int>, held: Range<Int>)
    case rows(bytes: Int, expected: Int)
    case page(UInt32, pages: Int)
    /// Two segments of one message would write it.
    case pageTwice(UInt32)
    case position(Int, contextTokens: Int)

    package var description: String {
        switch self {
        case .layers(let asked, let held):
            "layers \(asked.lowerBound) to \(asked.upperBound - 1) are not within \(held.lowerBound) to \(held.upperBound - 1)"
        case .rows(let bytes, let expected): "the rows have \(bytes) bytes; their positions need \(expected)"
        case .page(let page, let pages): "page \(page) is beyond the \(pages) that were granted"
        case .pageTwice(let page): "two segments write page \(page)"
        case .position(let position, let tokens): "position \(position) is beyond the model's \(tokens) tokens"
        }
    }
}

/// The keys and values that a session has in some layers. Pages are made when they are first used.
package final class StagePages {
    package let layers: Range<Int>
    package let count: Int
    private let pageBytes: Int
    private var memory: [UnsafeMutableRawPointer?]

    fileprivate init(layers: Range<Int>, count: Int, pageBytes: Int) {
        self.layers = layers
        self.count = max(0, count)
        self.pageBytes = pageBytes
        memory = Array(repeating: nil, count: max(0, count))
    }

    deinit {
        for page in memory { page?.deallocate() }
    }

    fileprivate func bytes(_ page: UInt32) -> UnsafeMutableRawPointer {
        if let made = memory[Int(page)] { return made }
        let made = UnsafeMutableRawPointer.allocate(byteCount: pageBytes, alignment: 64)
        made.initializeMemory(as: UInt8.self, repeating: 0, count: pageBytes)
        memory[Int(page)] = made
        return made
    }

    fileprivate func copy(_ pair: LayerWork.Copy) {
        guard pair.from != pair.to else { return }
        bytes(pair.to).copyMemory(from: bytes(pair.from), byteCount: pageBytes)
    }

    fileprivate func table(_ numbers: [UInt32]) -> PageTable {
        let table = PageTable(capacity: numbers.count)
        for number in numbers { table.append(PageNumber(value: Int32(bitPattern: number)), bytes(number)) }
        return table
    }
}

package final class LayerStage {
    package let model: LoadedModel
    /// Rows of one forward pass; longer work is cut.
    package let rowsMax: Int
    private let transformer: Transformer

    package var rowBytes: Int { transformer.rowBytes }
    package var range: Range<Int> { model.range }

    package init(
        model: LoadedModel, rowsMax: Int = 256, pool workers: any WorkerPool = SerialPool(),
        instructionSet: InstructionSet = .best
    ) {
        self.model = model
        self.rowsMax = max(1, rowsMax)
        let layout = PagePool(config: model.config, bytesMax: 0, layers: model.range.count)
        transformer = Transformer(
            model: model, cache: layout, pool: workers, instructionSet: instructionSet, rowsMax: self.rowsMax,
            logitRowsMax: 1)
    }

    /// Of one page of some of the layers.
    package static func pageBytes(_ config: ModelConfig, layers: Range<Int>) -> Int {
        PageLayout(config: config, precision: .f32, layers: layers.count).pageBytes
    }

    package func pages(_ count: Int, layers: Range<Int>) throws(LayerFault) -> StagePages {
        guard layers.lowerBound >= range.lowerBound, layers.upperBound <= range.upperBound, !layers.isEmpty else {
            throw .layers(layers, held: range)
        }
        return StagePages(
            layers: layers, count: count, pageBytes: Self.pageBytes(model.config, layers: layers))
    }

    /// The work's rows after the layers of `pages`.
    package func compute(_ work: LayerWork, in pages: StagePages) throws(LayerFault) -> [UInt8] {
        try check(work, pages)
        for copy in work.copies { pages.copy(copy) }
        transformer.firstCached = pages.layers.lowerBound
        var out: [UInt8] = []
        out.reserveCapacity(work.rows.count)
        var batch: [BatchSegment] = []
        var rows = 0, first = 0
        func run() {
            guard rows > 0 else { return }
            transformer.begin(rows: rows, segments: batch)
            transformer.takeStream(Array(work.rows[first * rowBytes..<(first + rows) * rowBytes]))
            transformer.run(layers: pages.layers)
            out += transformer.streamBytes
            transformer.end()
            first += rows
            rows = 0
            batch.removeAll(keepingCapacity: true)
        }
        for segment in work.segments {
            let table = pages.table(segment.pages)
            var done = 0
            while done < segment.count {
                if rows == rowsMax { run() }
                let count = min(segment.count - done, rowsMax - rows)
                batch.append(
                    BatchSegment(pages: table, start: segment.start + done, count: count, row: rows, adapter: nil))
                rows += count
                done += count
            }
        }
        run()
        return out
    }

    private func check(_ work: LayerWork, _ pages: StagePages) throws(LayerFault) {
        for copy in work.copies {
            for page in [copy.from, copy.to] where page >= UInt32(pages.count) {
                throw .page(page, pages: pages.count)
            }
        }
        var rows = 0
        var written: Set<UInt32> = []
        for segment in work.segments {
            let end = segment.start + segment.count
            guard end <= model.config.contextTokens else {
                throw .position(end - 1, contextTokens: model.config.contextTokens)
            }
            if let page = segment.pages.first(where: { $0 >= UInt32(pages.count) }) {
                throw .page(page, pages: pages.count)
            }
            for page in segment.pages[(segment.start / PagePool.positionsPerPage)...] {
                guard written.insert(page).inserted else { throw .pageTwice(page) }
            }
            rows += segment.count
        }
        guard work.rows.count == rows * rowBytes else {
            throw .rows(bytes: work.rows.count, expected: rows * rowBytes)
        }
    }
}
