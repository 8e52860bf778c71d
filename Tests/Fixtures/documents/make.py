# Makes the PDFs beside it: two pages of text; pages without text; pages that only a password opens (RC4, revision 2).
import hashlib, sys
def build(pages, crypt=None):
    objs=[]
    n=len(pages)
    objs.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    kids=b" ".join(b"%d 0 R"%(4+2*i) for i in range(n))
    objs.append(b"<< /Type /Pages /Kids [%s] /Count %d >>"%(kids,n))
    objs.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for i,lines in enumerate(pages):
        objs.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>"%(5+2*i))
        body=b"BT /F1 12 Tf 72 720 Td 14 TL\n"
        for l in lines:
            l=l.encode('cp1252').replace(b'\\',b'\\\\').replace(b'(',b'\\(').replace(b')',b'\\)')
            body+= (b"(%s) Tj T*\n"%l) if l else b"T*\n"
        body+=b"ET"
        if not lines: body=b"72 72 200 200 re f"
        if crypt: body=crypt(5+2*i,body)
        objs.append(b"<< /Length %d >>\nstream\n%s\nendstream"%(len(body),body))
    return objs
def write(path,objs,extra=b"",enc=None):
    out=b"%PDF-1.4\n"; offs=[]
    if enc: objs=objs+[enc]
    for i,o in enumerate(objs):
        offs.append(len(out)); out+=b"%d 0 obj\n%s\nendobj\n"%(i+1,o)
    x=len(out)
    out+=b"xref\n0 %d\n0000000000 65535 f \n"%(len(objs)+1)+b"".join(b"%010d 00000 n \n"%o for o in offs)
    tr=b"/Size %d /Root 1 0 R"%(len(objs)+1)+extra
    if enc: tr+=b" /Encrypt %d 0 R"%len(objs)
    out+=b"trailer << %s >>\nstartxref\n%d\n%%%%EOF\n"%(tr,x)
    open(path,"wb").write(out)
def rc4(k,d):
    s=list(range(256)); j=0
    for i in range(256): j=(j+s[i]+k[i%len(k)])%256; s[i],s[j]=s[j],s[i]
    i=j=0; o=bytearray()
    for c in d:
        i=(i+1)%256; j=(j+s[i])%256; s[i],s[j]=s[j],s[i]; o.append(c^s[(s[i]+s[j])%256])
    return bytes(o)
PAD=bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
def locked(path,pages,user,owner,perms):
    ident=b"0123456789abcdef"
    pad=lambda p:(p+PAD)[:32]
    okey=hashlib.md5(pad(owner)).digest()[:5]
    O=rc4(okey,pad(user))
    key=hashlib.md5(pad(user)+O+perms.to_bytes(4,'little',signed=True)+ident).digest()[:5]
    U=rc4(key,PAD)
    def crypt(num,d):
        k=hashlib.md5(key+num.to_bytes(3,'little')+b"\0\0").digest()[:10]
        return rc4(k,d)
    hexs=lambda b:b"<"+b.hex().encode()+b">"
    enc=b"<< /Filter /Standard /V 1 /R 2 /O %s /U %s /P %d >>"%(hexs(O),hexs(U),perms)
    write(path,build(pages,crypt),b" /ID [%s %s]"%(hexs(ident),hexs(ident)),enc)
P=[["Brisket is a cut of meat from the","breast of beef. It is cooked slowly.","","It is served hot."],["Gumbo is a stew thickened with okra."]]
d=sys.argv[1]
write(d+"/two-pages.pdf",build(P))
write(d+"/no-text.pdf",build([[],[]]))
locked(d+"/locked.pdf",P,b"secret",b"owner",-4)
