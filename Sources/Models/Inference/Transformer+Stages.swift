// The residual stream on its way out and in: to a stage elsewhere and back, and into the pages, where the coordinator keeps
// what it sent.

import Kernels

extension Transformer {
    var rowBytes: Int { config.hidden * 4 }

    private func kept(_ segment: BatchSegment, _ position: Int, stage: Int) -> UnsafeMutablePointer<Float>? {
        guard let page = segment.pages.pages[position / PagePool.positionsPerPage] else { return nil }
        let offset =
            cache.layout.layerBytes + stage * cache.layout.stageBytes
            + position % PagePool.positionsPerPage * rowBytes
        return (UnsafeMutableRawPointer(mutating: page) + offset).assumingMemoryBound(to: Float.self)
    }

    /// Copies the stream beside what the cache has of each row's position.
    func keepStream(stage: Int) {
        for segment in segments {
            for index in 0..<segment.count {
                kept(segment, segment.start + index, stage: stage)?
                    .update(from: space.stream[segment.row + index], count: config.hidden)
            }
        }
    }

    /// What was kept of consecutive positions.
    func keptRows(_ pages: PageTable, from: Int, count: Int, stage: Int) -> [UInt8] {
        let segment = BatchSegment(pages: pages, start: from, count: count, row: 0, adapter: nil)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count * rowBytes)
        for position in from..<from + count {
            guard let row = kept(segment, position, stage: stage) else { return [] }
            StreamBytes.append(row, config.hidden, to: &bytes)
        }
        return bytes
    }

    var streamBytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rows * rowBytes)
        for row in 0..<rows { StreamBytes.append(space.stream[row], config.hidden, to: &bytes) }
        return bytes
    }

    /// Whole rows in place of the stream's.
    func takeStream(_ bytes: [UInt8]) {
        precondition(bytes.count == rows * rowBytes)
        bytes.withUnsafeBytes { buffer in
            for row in 0..<rows { StreamBytes.read(buffer, at: row * rowBytes, space.stream[row], config.hidden) }
        }
    }
}

/// Floats as 4 little-endian bytes each.
enum StreamBytes {
    static func append(_ floats: UnsafePointer<Float>, _ count: Int, to bytes: inout [UInt8]) {
        for index in 0..<count {
            withUnsafeBytes(of: floats[index].bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
        }
    }

    static func read(
        _ bytes: UnsafeRawBufferPointer, at start: Int, _ floats: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        for index in 0..<count {
            let pattern = bytes.loadUnaligned(fromByteOffset: start + index * 4, as: UInt32.self)
            floats[index] = Float(bitPattern: UInt32(littleEndian: pattern))
        }
    }
}
