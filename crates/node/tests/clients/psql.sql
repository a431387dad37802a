\d
\d author
\d+ author
\d book
\d+ book
\d app.pair
\d app."Odd Name"
\d cheap
\d app.counter
\d author_pkey
\d book_published_idx
\d author_id_seq
\dt
\dt app.*
\di
\ds
\dv
\df
\df app.*
\du
\dT
\dp
\z
\ddp
\dd
\db
\dD
\dE
\dm
\dO
\dy
\dRp
\dRs
\des
\det
\dew
\deu
\dX
\dP
\drds
\dl
\df+ app.*
\dti
\dtvs
\dconfig search_path
